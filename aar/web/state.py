"""What every request handler shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from aar.snapshots.store import SnapshotStore
from aar.store.database import Database
from aar.web.feed import EventFeed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shared:
    """The parts of one server.

    Args:
        db: the database that is served.
        home: folder of campaigns and of the operator's token.
        snapshots: where frozen code is read from.
        feed: follows the event log for all watchers.
        campaign_id: the campaign that this process runs; None when past campaigns are served.
        operator_token: what a person proves to be the operator with.
        open_reading: whether reading needs no token (loopback only).
    """

    db: Database
    home: Path
    snapshots: SnapshotStore
    feed: EventFeed
    campaign_id: str | None
    operator_token: str
    open_reading: bool

    def read(self, fn: Callable[[Session], T]) -> T:
        """Run a query in this thread; for handlers that run in the thread pool."""
        with self.db.reading() as session:
            return fn(session)


def shared_of(request: Request) -> Shared:
    """The parts of the server that a request came to."""
    shared = request.app.state.aar
    assert isinstance(shared, Shared)
    return shared


SharedDep = Annotated[Shared, Depends(shared_of)]
