"""The API under ``/api/v1``: everything that the command line can read, typed and paged."""

from __future__ import annotations

from fastapi import APIRouter

from aar.web.api import (
    campaigns,
    charts,
    closer,
    compare,
    controls,
    costs,
    events,
    figures,
    forum,
    forum_changes,
    launching,
    researchers,
    rulings,
    submissions,
    workspaces,
)

router = APIRouter(prefix="/api/v1")
for part in (campaigns, researchers, forum, forum_changes, figures, submissions, costs, events, controls, rulings):
    router.include_router(part.router)
for part in (charts, closer, compare, workspaces, launching):
    router.include_router(part.router)
