"""Appending to and reading from the event log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.events import AnyEvent, Event, parse_event
from aar.store.models import EventRecord


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its place in the log: ``id`` grows by time and is the cursor."""

    id: int
    campaign_id: str
    researcher_id: str | None
    at: datetime
    event: AnyEvent


def append(session: Session, campaign_id: str, happened: Event, researcher_id: str | None = None) -> int:
    """Append one event in the caller's transaction; returns its id."""
    record = EventRecord(
        campaign_id=campaign_id,
        researcher_id=researcher_id,
        kind=happened.kind,
        payload=happened.model_dump(mode="json"),
    )
    session.add(record)
    session.flush()
    return record.id


def read(
    session: Session,
    campaign_id: str,
    *,
    after: int = 0,
    limit: int = 500,
    researcher_id: str | None = None,
    kinds: Sequence[str] = (),
) -> list[LoggedEvent]:
    """Events after a cursor, oldest first; at most ``limit``."""
    query = select(EventRecord).where(EventRecord.campaign_id == campaign_id, EventRecord.id > after)
    if researcher_id is not None:
        query = query.where(EventRecord.researcher_id == researcher_id)
    if kinds:
        query = query.where(EventRecord.kind.in_(kinds))
    records = session.scalars(query.order_by(EventRecord.id).limit(limit))
    return [
        LoggedEvent(record.id, record.campaign_id, record.researcher_id, record.at, parse_event(record.payload))
        for record in records
    ]
