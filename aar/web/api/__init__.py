"""The HTTP API under ``/api/v1``: typed, paged, with all that the command line reads."""

from __future__ import annotations

from fastapi import APIRouter

from aar.web.api import (
    campaigns,
    charts,
    comparison,
    costs,
    event_stream,
    researchers,
    submission_details,
    submissions,
    workspaces,
)
from aar.web.api.control import decisions, launch, steering
from aar.web.api.forum import edits, figures, posts

router = APIRouter(prefix="/api/v1")
for part in (campaigns, researchers, posts, edits, figures, submissions, costs, event_stream, steering, decisions):
    router.include_router(part.router)
for part in (charts, submission_details, comparison, workspaces, launch):
    router.include_router(part.router)
