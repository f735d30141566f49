"""Pages for people, rendered on the server; they read well without JavaScript, which only keeps them fresh."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from aar.web.pages import (
    campaigns,
    changing,
    compare,
    forum,
    launch,
    lineage,
    live,
    login,
    posting,
    researchers,
    steering,
    submissions,
)

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
for part in (
    campaigns,
    live,
    compare,
    lineage,
    forum,
    posting,
    changing,
    submissions,
    researchers,
    steering,
    login,
    launch,
):
    router.include_router(part.router)
