"""Reads the newest events, for logs that start at the end."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.events import parse_event
from aar.scoring.visibility import Audience, event_seen_by
from aar.store.event_log import LoggedEvent
from aar.store.models import EventRecord


def list_recent_events(
    session: Session, campaign_id: str, *, limit: int = 40, audience: Audience = Audience.OPERATOR
) -> list[LoggedEvent]:
    """Lists the newest events, newest first, as an audience may see them."""
    query = select(EventRecord).where(EventRecord.campaign_id == campaign_id).order_by(EventRecord.id.desc())
    events = [
        LoggedEvent(row.id, row.campaign_id, row.researcher_id, row.at, parse_event(row.payload))
        for row in session.scalars(query.limit(limit))
    ]
    return [seen for each in events if (seen := event_seen_by(each, audience)) is not None]
