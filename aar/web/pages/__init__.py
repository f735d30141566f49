"""Pages for people, rendered on the server; they read well without JavaScript, which only keeps them fresh."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from aar.web.pages import campaigns, compare, forum, launch, lineage, login, researchers, steering, submissions

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
for part in (campaigns, compare, lineage, forum, submissions, researchers, steering, login, launch):
    router.include_router(part.router)
