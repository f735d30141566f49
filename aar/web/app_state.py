"""What every request handler shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

import anyio
from fastapi import Depends, Request
from sqlalchemy.orm import Session

from aar.auth.login_links import LoginLinks
from aar.auth.sessions import SessionStore
from aar.readmodels.submissions.submission_code import open_local_snapshots
from aar.settings import Settings
from aar.snapshots.store import SnapshotStore
from aar.store.database import Database
from aar.web.event_feed import EventFeed
from aar.web.idempotency import IdempotencyCache
from aar.web.rate_limit import RateLimits, TokenBuckets

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AppState:
    """The parts of one server.

    Args:
        db: the database that is served.
        settings: with ``home``, the folder of campaigns and of the operator's token.
        own_snapshots: the frozen code of ``campaign_id``; None where it lies in that campaign's folder.
        feed: follows the event log for all watchers.
        campaign_id: the campaign that this process runs; None when past campaigns are served.
        operator_token: what a person proves to be the operator with.
        viewer_token: what a person proves to be allowed to read with.
        sessions: people's logins.
        once: results of requests that may be sent twice.
        open_reading: whether what researchers may read needs no token (loopback only).
        own_terminal: whether the one client is a process that the owner of the database started.
        rates: how often a client may try and write.
        buckets: how much of that each has used.
        login_links: addresses that log one person in, once.
        limiters: bounds on work in threads, by name.
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
    login_links: LoginLinks = field(default_factory=LoginLinks)
    limiters: dict[str, anyio.CapacityLimiter] = field(default_factory=dict)
    open_streams: set[object] = field(default_factory=set)

    def snapshots_of(self, campaign_id: str) -> SnapshotStore | None:
        """Where a campaign's frozen code lies; None where it is not on this machine."""
        if campaign_id == self.campaign_id and self.own_snapshots is not None:
            return self.own_snapshots
        return open_local_snapshots(self.settings.campaign_dir(campaign_id))

    def count_write(self, address: str, key: str) -> None:
        """Count one write: of a token or login that is known, else of the machine that asks. Raises TooMany.

        Args:
            key: of the token or login; empty for nobody known.
        """
        if key:
            self.buckets.take("credential", key, self.rates.credential)
        else:
            self.buckets.take("address", address, self.rates.address)

    def read(self, fn: Callable[[Session], T]) -> T:
        """Run a query in this thread; for handlers that run in the thread pool."""
        with self.db.reading() as session:
            return fn(session)


async def get_app_state(request: Request) -> AppState:
    """The parts of the server that a request came to; async, for FastAPI takes every other dependency to a thread."""
    shared = request.app.state.aar
    assert isinstance(shared, AppState)
    return shared


AppStateDep = Annotated[AppState, Depends(get_app_state)]
