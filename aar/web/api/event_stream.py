"""API of the event log: pages by cursor, and a stream."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sse_starlette import ServerSentEvent

from aar.errors import TooMany
from aar.scoring.visibility import Audience, event_seen_by
from aar.store.event_log import LoggedEvent, read_events
from aar.text import clean_line
from aar.web.app_state import AppState, AppStateDep
from aar.web.authentication import AudienceDep, Authenticated, authenticate, get_authenticated, may_read
from aar.web.request_params import MAX_LIMIT, After, CampaignId, Limit, Page, find_campaign, find_researcher

router = APIRouter(prefix="/campaigns/{campaign_id}/events", tags=["events"])
LastEventId = Annotated[str | None, Header(max_length=20, description="The last event of a broken stream")]
_POLL_SECONDS = 1.0
"""Interval in which an open stream checks that its token is still valid."""
_MOST_UNKNOWN = 100
"""Streams without token or login, all together: enough for the pages of one machine, with room for everybody else."""
_STREAM_SECONDS = 10.0
HEARTBEAT_SECONDS = 15.0
"""A quiet stream sends a comment this often, so that proxies leave it open and dead clients are found."""
server_sent = partial(ServerSentEvent, sep="\n")
HEARTBEAT = server_sent(comment="still here")


class EventOut(BaseModel):
    """An event; ``id`` is the cursor."""

    id: int
    campaign_id: str
    researcher_id: str | None
    at: datetime
    kind: str
    line: str
    """One line for people, free of control characters."""
    payload: dict[str, Any]

    @classmethod
    def of(cls, logged: LoggedEvent) -> EventOut:
        """Converts an event of the log."""
        return cls(
            id=logged.id,
            campaign_id=logged.campaign_id,
            researcher_id=logged.researcher_id,
            at=logged.at,
            kind=logged.event.kind,
            line=clean_line(logged.event.summary()),
            payload=logged.event.model_dump(mode="json", exclude={"kind"}),
        )


@router.get("")
def events(
    shared: AppStateDep,
    audience: AudienceDep,
    campaign_id: CampaignId,
    after: After = 0,
    limit: Limit = 100,
    researcher: str | None = None,
    kind: Annotated[list[str], Query(max_length=40, description="Only these kinds")] = [],  # noqa: B006 - FastAPI copies
) -> Page[EventOut]:
    """Lists events after a cursor, oldest first, as the client may see them."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        by = find_researcher(session, view.id, researcher).id if researcher else None
        logged = read_events(session, view.id, after=after, limit=limit + 1, researcher_id=by, kinds=kind)
    page = logged[:limit]
    seen = [each for row in page if (each := event_seen_by(row, audience)) is not None]
    more = len(logged) > limit
    return Page(items=[EventOut.of(each) for each in seen], next_cursor=page[-1].id if more else None)


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Events as they happen"}},
)
async def stream(
    shared: AppStateDep,
    request: Request,
    campaign_id: CampaignId,
    after: After = 0,
    brief: Annotated[bool, Query(description="Leave payloads out")] = False,
    once: Annotated[bool, Query(description="End after the events that are already stored")] = False,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Streams all events after a cursor, then new ones, until the server stops."""
    view = await shared.db.read(partial(find_campaign, name=campaign_id))
    audience = get_authenticated(request.scope).audience
    cursor = start_cursor(after, last_event_id)
    return sse_response(shared, request, _stream_events(shared, view.id, audience, cursor, brief, once))


def start_cursor(after: int, last_event_id: str | None) -> int:
    """Returns the start of a stream: the client's last event if it sent one."""
    return min(int(last_event_id) if last_event_id and last_event_id.isdecimal() else after, MAX_LIMIT)


def sse_response(shared: AppState, request: Request, sent: AsyncGenerator[ServerSentEvent, None]) -> StreamingResponse:
    """Sends server-sent events, unbuffered, while the client may read."""
    if get_authenticated(request.scope).audience is Audience.NOBODY and len(shared.open_streams) >= _MOST_UNKNOWN:
        raise TooMany(f"too many open streams: expected at most {_MOST_UNKNOWN} without a login", _STREAM_SECONDS)
    # Not sse-starlette's own response: after a signal stopped one server of this process, it ends all later streams.
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(_while_allowed(shared, request, sent), media_type="text/event-stream", headers=headers)


async def _while_allowed(
    shared: AppState, request: Request, sent: AsyncGenerator[ServerSentEvent, None]
) -> AsyncIterator[bytes]:
    first, checked_at = get_authenticated(request.scope), time.monotonic()
    async with aclosing(sent), _counted(shared, first):
        yield server_sent(retry=2000).encode()
        async for each in sent:
            # A logout ends a stream at once; revoked tokens and new invitations within a second.
            if first.login is not None or time.monotonic() - checked_at > _POLL_SECONDS:
                client, checked_at = await authenticate(shared, request), time.monotonic()
                if client.audience is not first.audience or not await may_read(shared, client):
                    return
            yield each.encode()


@asynccontextmanager
async def _counted(shared: AppState, client: Authenticated) -> AsyncIterator[None]:
    """Counts a stream of an unknown client among the open ones."""
    if client.audience is not Audience.NOBODY:
        yield
        return
    mark = object()
    shared.open_streams.add(mark)
    try:
        yield
    finally:
        shared.open_streams.discard(mark)


async def _stream_events(
    shared: AppState, campaign_id: str, audience: Audience, after: int, brief: bool, once: bool
) -> AsyncGenerator[ServerSentEvent, None]:
    if once:
        for logged in await shared.db.read(partial(read_events, campaign_id=campaign_id, after=after)):
            if (seen := event_seen_by(logged, audience)) is not None:
                yield _describe_event(seen, brief)
        return
    async for each in shared.feed.follow(campaign_id, after, idle=HEARTBEAT_SECONDS):
        if each is None:
            yield HEARTBEAT
        elif (seen := event_seen_by(each, audience)) is not None:
            yield _describe_event(seen, brief)


def _describe_event(seen: LoggedEvent, brief: bool) -> ServerSentEvent:
    out = EventOut.of(seen).model_dump(mode="json", exclude={"payload"} if brief else None)
    # In ASCII: clients that split lines at every Unicode line separator would cut a text in two.
    return server_sent(json.dumps(out, separators=(",", ":")), event=seen.event.kind, id=str(seen.id))
