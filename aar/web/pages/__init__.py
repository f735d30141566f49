"""Pages for people, rendered on the server.

They work without JavaScript, which only refreshes them.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from aar.web.pages import campaigns, control, live_updates, login, researchers, submissions
from aar.web.pages.forum import actions, threads

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
for part in (campaigns, live_updates, threads, actions, submissions, researchers, control, login):
    router.include_router(part.router)
