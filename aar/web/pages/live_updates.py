"""Live updates of open pages: log lines, and refreshes, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from sse_starlette import ServerSentEvent

from aar.readmodels.campaign_overview import list_recent_events
from aar.scoring.visibility import Audience, event_seen_by
from aar.web.api import event_stream
from aar.web.app_state import AppState, AppStateDep
from aar.web.authentication import get_authenticated
from aar.web.rendering import log_row
from aar.web.request_params import After, CampaignId, find_campaign

router = APIRouter()
QUIET_KINDS: Final = frozenset({"model_called", "tool_started", "tool_finished", "scoring_run_finished"})
"""Frequent kinds, which a page shows in its log only."""
ROW_KINDS = 60
"""Rows of a page's log. A page that was away for longer gets no more than these."""


@router.get("/campaigns/{campaign_id}/live")
async def live(
    shared: AppStateDep,
    request: Request,
    campaign_id: CampaignId,
    after: After = 0,
    last_event_id: event_stream.LastEventId = None,
) -> StreamingResponse:
    """Streams events for htmx: ``loud`` refreshes the page, ``quiet`` does not.

    The data of an event is a row of the log.
    """
    view = await shared.db.read(partial(find_campaign, name=campaign_id))
    newest = await shared.db.read(
        partial(list_recent_events, campaign_id=view.id, limit=ROW_KINDS)
    )  # their numbers alone
    cursor = event_stream.start_cursor(after, last_event_id)
    missed = len(newest) == ROW_KINDS and newest[-1].id - 1 > cursor
    audience = get_authenticated(request.scope).audience
    rows = _stream_rows(shared, view.id, audience, newest[-1].id - 1 if missed else cursor, missed)
    return event_stream.sse_response(shared, request, rows)


async def _stream_rows(
    shared: AppState, campaign_id: str, audience: Audience, after: int, missed: bool
) -> AsyncGenerator[ServerSentEvent, None]:
    known, cursor = "alive", after  # a page that was disconnected may show an old state
    async for each in shared.feed.follow(campaign_id, after, idle=event_stream.HEARTBEAT_SECONDS):
        if each is None:
            before, known = known, await _controller(shared, campaign_id)
            refresh = event_stream.server_sent("", event="loud", id=str(cursor))
            yield refresh if known == "lost" != before else event_stream.HEARTBEAT
            continue
        cursor = each.id
        seen = event_seen_by(each, audience)
        kind = "loud" if missed or each.event.kind not in QUIET_KINDS else "quiet"
        yield event_stream.server_sent("" if seen is None else log_row(seen), event=kind, id=str(each.id))
        missed = False


async def _controller(shared: AppState, campaign_id: str) -> str:
    """Returns the controller's state; its death writes no event."""
    state = (await shared.db.read(partial(find_campaign, name=campaign_id))).controller
    shared.feed.set_controller_state(campaign_id, state)
    return state
