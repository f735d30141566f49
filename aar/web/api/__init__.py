"""The API under ``/api/v1``: everything that the command line can read, typed and paged."""

from __future__ import annotations

from fastapi import APIRouter

from aar.web.api import campaigns, controls, costs, events, forum, researchers, rulings, submissions

router = APIRouter(prefix="/api/v1")
for part in (campaigns, researchers, forum, submissions, costs, events, controls, rulings):
    router.include_router(part.router)
