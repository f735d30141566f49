"""What happened: the event log by cursor, and as a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from aar.forum.text import clean_line
from aar.store.event_log import LoggedEvent, read
from aar.web.api.paging import BIGGEST, After, Limit, Page, page_of
from aar.web.auth import may_read
from aar.web.lookup import CampaignId, campaign_of, researcher_of_address
from aar.web.state import Shared, SharedDep

router = APIRouter(prefix="/campaigns/{campaign_id}/events", tags=["events"])
LastEventId = Annotated[str | None, Header(max_length=20, description="Where a broken stream goes on")]
_made: dict[tuple[int, str], tuple[LoggedEvent, str]] = {}
_MOST_MADE = 500
HEARTBEAT_SECONDS = 15.0
"""A quiet stream says so this often, so that proxies keep it open and dead clients are found."""


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
        """From the log."""
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
    shared: SharedDep,
    campaign_id: CampaignId,
    after: After = 0,
    limit: Limit = 100,
    researcher: str | None = None,
    kind: Annotated[list[str], Query(max_length=40, description="Only these kinds")] = [],  # noqa: B006 - FastAPI copies
) -> Page[EventOut]:
    """Events after a cursor, oldest first."""
    with shared.db.reading() as session:
        view = campaign_of(session, campaign_id)
        by = researcher_of_address(session, view.id, researcher).id if researcher else None
        found = read(session, view.id, after=after, limit=limit + 1, researcher_id=by, kinds=kind)
    return page_of(found, limit, EventOut.of, lambda logged: logged.id)


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Events as they happen"}},
)
async def stream(
    shared: SharedDep,
    request: Request,
    campaign_id: CampaignId,
    after: After = 0,
    brief: Annotated[bool, Query(description="Leave payloads out")] = False,
    once: Annotated[bool, Query(description="End after what is there already")] = False,
    last_event_id: LastEventId = None,
) -> StreamingResponse:
    """Server-sent events: everything after a cursor, then what happens, until the server stops."""
    view = await shared.db.read(partial(campaign_of, name=campaign_id))
    return as_stream(shared, request, _frames(shared, view.id, cursor_of(after, last_event_id), brief, once))


def cursor_of(after: int, last_event_id: str | None) -> int:
    """Where a stream begins: where a broken one ended, if its client says so."""
    return min(int(last_event_id) if last_event_id and last_event_id.isdecimal() else after, BIGGEST)


def as_stream(shared: Shared, request: Request, frames: AsyncGenerator[str, None]) -> StreamingResponse:
    """Frames as server-sent events, unbuffered on their way, for as long as whoever asked may read."""
    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(_while_allowed(shared, request, frames), media_type="text/event-stream", headers=headers)


async def _while_allowed(shared: Shared, request: Request, frames: AsyncGenerator[str, None]) -> AsyncIterator[str]:
    async with aclosing(frames):
        async for each in frames:
            if not may_read(shared, request):
                return
            yield each


async def _frames(shared: Shared, campaign_id: str, after: int, brief: bool, once: bool) -> AsyncGenerator[str, None]:
    yield "retry: 2000\n\n"
    if once:
        for logged in await shared.db.read(partial(read, campaign_id=campaign_id, after=after)):
            yield frame(logged, brief)
        return
    async for each in shared.feed.follow(campaign_id, after, idle=HEARTBEAT_SECONDS):
        yield ": still here\n\n" if each is None else frame(each, brief)


def frame(logged: LoggedEvent, brief: bool) -> str:
    """One event in the stream's own format."""

    def data(logged: LoggedEvent) -> str:
        shown = EventOut.of(logged).model_dump(mode="json", exclude={"payload"} if brief else None)
        return json.dumps(shown, separators=(",", ":"))

    return f"id: {logged.id}\nevent: {logged.event.kind}\ndata: {made_once(logged, f'json {brief}', data)}\n\n"


def made_once(logged: LoggedEvent, form: str, make: Callable[[LoggedEvent], str]) -> str:
    """An event in some form, made once for all watchers, who get the same object from the feed."""
    key = (id(logged), form)
    known, text = _made.get(key, (None, ""))
    if known is logged:
        return text
    text = make(logged)
    if len(_made) >= _MOST_MADE:
        _made.clear()
    _made[key] = (logged, text)
    return text
