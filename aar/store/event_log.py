"""Appends to and reads from the event log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Table, bindparam, func, select, text
from sqlalchemy.orm import Session

from aar.events import AnyEvent, Event, parse_event
from aar.store.column_types import now
from aar.store.models import EventRecord

_LOCK = text("SELECT pg_advisory_xact_lock(1, hashtext(:campaign))")
_TABLE = cast(Table, EventRecord.__table__)
_INSERT = _TABLE.insert().returning(_TABLE.c.id)
_INSERT_ALL = _TABLE.insert()
_LATEST = select(func.max(_TABLE.c.id)).where(_TABLE.c.campaign_id == bindparam("campaign"))
_COLUMNS = (
    EventRecord.id,
    EventRecord.campaign_id,
    EventRecord.researcher_id,
    EventRecord.at,
    EventRecord.payload,
)


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its place in the log: ``id`` is the growing cursor."""

    id: int
    campaign_id: str
    researcher_id: str | None
    at: datetime
    event: AnyEvent


def lock_campaign(session: Session, campaign_id: str) -> None:
    """Lock the campaign against other writers until the transaction ends.

    Ids are drawn in the order of insertion but become visible in the order of commits; a reader that uses the last
    id as its cursor would skip a smaller one that commits later. With one appending transaction a campaign at a time
    the two orders are the same. SQLite has one writer anyway. A service that changes rows that others change too
    takes the lock before it reads them, so that it also sees their latest state.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(_LOCK, {"campaign": campaign_id})


def append_event(session: Session, campaign_id: str, happened: Event, researcher_id: str | None = None) -> int:
    """Append one event in the caller's transaction; returns its id.

    The id is larger than all that readers saw.
    """
    session.flush()
    lock_campaign(session, campaign_id)
    return int(session.connection().execute(_INSERT, _row(campaign_id, happened, researcher_id)).scalar_one())


def append_events(
    session: Session, campaign_id: str, happened: Sequence[Event], researcher_id: str | None = None
) -> None:
    """Append events in the caller's transaction, in one statement."""
    session.flush()
    lock_campaign(session, campaign_id)
    if happened:
        session.connection().execute(_INSERT_ALL, [_row(campaign_id, each, researcher_id) for each in happened])


def latest_event_id(session: Session, campaign_id: str) -> int:
    """Return the id of the campaign's newest event; 0 if there is none."""
    session.flush()
    return session.connection().execute(_LATEST, {"campaign": campaign_id}).scalar() or 0


def _row(campaign_id: str, happened: Event, researcher_id: str | None) -> dict[str, Any]:
    return {
        "campaign_id": campaign_id,
        "researcher_id": researcher_id,
        "kind": happened.kind,
        "at": now(),
        "payload": happened.model_dump(mode="json"),
    }


def read_events(
    session: Session,
    campaign_id: str,
    *,
    after: int = 0,
    limit: int = 500,
    researcher_id: str | None = None,
    kinds: Sequence[str] = (),
) -> list[LoggedEvent]:
    """List events after a cursor, oldest first; at most ``limit``."""
    query = select(*_COLUMNS).where(EventRecord.campaign_id == campaign_id, EventRecord.id > after)
    if researcher_id is not None:
        query = query.where(EventRecord.researcher_id == researcher_id)
    if kinds:
        query = query.where(EventRecord.kind.in_(kinds))
    rows = session.execute(query.order_by(EventRecord.id).limit(limit))
    return [LoggedEvent(row.id, row.campaign_id, row.researcher_id, row.at, parse_event(row.payload)) for row in rows]
