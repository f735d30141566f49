"""Pages for people, rendered on the server; they read well without JavaScript, which only keeps them fresh."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from aar.web.pages import campaigns, forum, researchers, submissions

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
for part in (campaigns, forum, submissions, researchers):
    router.include_router(part.router)
