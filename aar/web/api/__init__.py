"""The HTTP API under ``/api/v1``: typed, paged, with all that the command line reads."""

from __future__ import annotations

from fastapi import APIRouter

from aar.web.api import campaigns, charts, control, event_stream, researchers, submissions
from aar.web.api.forum import edits, posts

router = APIRouter(prefix="/api/v1")
for part in (campaigns, researchers, posts, edits, submissions, event_stream, control, charts):
    router.include_router(part.router)
