"""State that all request handlers share."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import anyio
from fastapi import Depends, Request
from sqlalchemy.orm import Session

from aar.auth.sessions import SessionStore
from aar.readmodels.submission_code import open_local_snapshots
from aar.settings import Settings
from aar.snapshots.store import SnapshotStore
from aar.store.database import Database
from aar.web.event_feed import EventFeed
from aar.web.rate_limit import RateLimits, TokenBuckets

T = TypeVar("T")
_MOST_RESULTS = 1000


class IdempotencyCache:
    """The newest requests by key, until the server ends: a request that is sent twice has one effect and one result."""

    def __init__(self) -> None:
        self._requests: OrderedDict[tuple[str, ...], asyncio.Task[Any]] = OrderedDict()

    async def run(self, key: tuple[str, ...] | None, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Returns the result of ``work``, or that of an earlier request with this key, unless it failed.

        None as the key always runs it.
        """
        if key is None:
            return await work()
        request = self._requests.get(key)
        if request is None or (request.done() and (request.cancelled() or request.exception() is not None)):
            request = self._requests[key] = asyncio.create_task(work())
            if len(self._requests) > _MOST_RESULTS:
                self._requests.popitem(last=False)
        result: T = await asyncio.shield(request)  # it goes on for the other clients if this one leaves
        return result


@dataclass(frozen=True, slots=True)
class AppState:
    """The parts of one server.

    Args:
        db: the database that is served.
        settings: with ``home``, the folder of campaigns and of the operator's token.
        own_snapshots: the frozen code of ``campaign_id``; None if it is in that campaign's folder.
        feed: follows the event log for all watchers.
        campaign_id: the campaign that this process runs; None when past campaigns are served.
        operator_token: the token that proves the operator's role.
        viewer_token: the token that proves the viewer's role.
        sessions: people's logins.
        once: results of requests that may be sent twice.
        open_reading: True if researchers' data can be read without a token (loopback only).
        own_terminal: True if the one client is a process that the owner of the database started.
        rates: rate limits of clients.
        buckets: the use of those limits by each client.
        token_lookups: bounds concurrent look-ups of tokens, so that guesses leave threads for known clients.
        open_streams: those of clients without token or login.
    """

    db: Database
    settings: Settings
    own_snapshots: SnapshotStore | None
    feed: EventFeed
    campaign_id: str | None
    operator_token: str
    viewer_token: str
    sessions: SessionStore
    open_reading: bool
    own_terminal: bool = False
    once: IdempotencyCache = field(default_factory=IdempotencyCache)
    rates: RateLimits = field(default_factory=RateLimits)
    buckets: TokenBuckets = field(default_factory=TokenBuckets)
    token_lookups: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(8))
    open_streams: set[object] = field(default_factory=set)

    def snapshots_of(self, campaign_id: str) -> SnapshotStore | None:
        """Returns the store of a campaign's code; None if not on this machine."""
        if campaign_id == self.campaign_id and self.own_snapshots is not None:
            return self.own_snapshots
        return open_local_snapshots(self.settings.campaign_dir(campaign_id))

    def count_write(self, address: str, key: str) -> None:
        """Counts one write: by token or login if known, else by address. Raises TooMany.

        Args:
            key: of the token or login; empty for an unknown client.
        """
        if key:
            self.buckets.take("credential", key, self.rates.credential)
        else:
            self.buckets.take("address", address, self.rates.address)

    def read(self, fn: Callable[[Session], T]) -> T:
        """Runs a query in this thread; for handlers that run in the thread pool."""
        with self.db.reading() as session:
            return fn(session)


async def get_app_state(request: Request) -> AppState:
    """Returns the parts of the server of a request.

    It is async because FastAPI runs all other dependencies in a thread.
    """
    shared = request.app.state.aar
    assert isinstance(shared, AppState)
    return shared


AppStateDep = Annotated[AppState, Depends(get_app_state)]
