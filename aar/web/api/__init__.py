"""The HTTP API under ``/api/v1``: typed, paged, with all that the command line reads.

A handler that only reads, here or of a page, is a plain function: FastAPI runs it in a thread, where it reads through
``shared.db.reading()``. A handler that writes, streams or waits is a coroutine, and awaits ``shared.db.write`` or
``shared.db.read``. The reads of the forum, which researchers send all the time, are coroutines too.
"""

from __future__ import annotations

from fastapi import APIRouter

from aar.web.api import campaigns, charts, control, event_stream, researchers, submissions
from aar.web.api.forum import edits, posts

router = APIRouter(prefix="/api/v1")
for part in (campaigns, researchers, posts, edits, submissions, event_stream, control, charts):
    router.include_router(part.router)
