"""A campaign's running time without pauses: as an axis of charts, and as a limit."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.events import LimitHit
from aar.store.event_log import append_event
from aar.store.models import EventRecord

_START = "campaign_started"
_ENDS = ("campaign_paused", "campaign_finished")


@dataclass(frozen=True, slots=True)
class Span:
    """A period of running: its start, and its seconds by a monotonic clock."""

    since: datetime
    seconds: float


@dataclass(frozen=True, slots=True)
class RunningTime:
    """The periods of running, in order."""

    spans: Sequence[Span]

    def minutes(self, at: datetime) -> float:
        """Return the minutes run until a moment."""
        return sum(min(max((at - span.since).total_seconds(), 0.0), span.seconds) for span in self.spans) / 60

    @property
    def seconds(self) -> float:
        """Return the seconds run in all."""
        return sum(span.seconds for span in self.spans)

    @property
    def total(self) -> float:
        """Return the minutes run in all."""
        return self.seconds / 60


def read_running_time(session: Session, campaign_id: str) -> RunningTime:
    """Read the running time of a campaign from the log.

    A killed controller logged no end: a period that a crash cut off ends with its last event.

    If a controller recorded its running time, that counts: between two readings of the machine's clock somebody may
    have set it, or the machine slept.
    """
    of_campaign = EventRecord.campaign_id == campaign_id
    marks = session.execute(
        select(EventRecord.id, EventRecord.kind, EventRecord.at, EventRecord.payload)
        .where(of_campaign, EventRecord.kind.in_((_START, *_ENDS)))
        .order_by(EventRecord.id + 0)  # an expression: SQLite then finds the few by kind, instead of reading the log
    ).all()
    spans: list[Span] = []
    since: tuple[int, datetime] | None = None

    def end(since: datetime, until: datetime, recorded: float | None = None) -> None:
        spans.append(Span(since, max((until - since).total_seconds(), 0.0) if recorded is None else recorded))

    def cut_off(upto: int | None) -> None:
        if since is None:
            return
        query = select(func.max(EventRecord.id)).where(of_campaign, EventRecord.id >= since[0])
        last = session.scalar(query if upto is None else query.where(EventRecord.id < upto))
        end(since[1], session.get_one(EventRecord, last).at)

    for mark in marks:
        if mark.kind == _START:
            cut_off(mark.id)
            since = (mark.id, mark.at)
        elif since is not None:
            end(since[1], mark.at, mark.payload.get("seconds"))
            since = None
    cut_off(None)
    return RunningTime(spans)


class RunTimer:
    """Counts the hours that controllers have run a campaign.

    Args:
        before: seconds run by former controllers.
        limit_hours: hours it may run in all; None for no limit. It may change.
    """

    def __init__(self, before: float, limit_hours: float | None) -> None:
        self._before = before
        self.limit_hours = limit_hours
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds run so far."""
        return self._before + time.monotonic() - self._started

    @property
    def left(self) -> float:
        """Return the remaining seconds; infinite without a limit."""
        return math.inf if self.limit_hours is None else self.limit_hours * 3600 - self.seconds

    def expired(self) -> bool:
        """Return whether the time is up."""
        return self.left <= 0

    def log_time_limit(self, session: Session, campaign_id: str) -> str:
        """Log that the time is up; return the line for people."""
        limit = Decimal(self.limit_hours or 0)
        spent = Decimal(round(self.seconds)) / 3600
        hit = LimitHit(
            scope="campaign", limit="hours", ceiling=round(limit, 4), committed=round(spent, 4), asked=Decimal(0)
        )
        append_event(session, campaign_id, hit)
        return f"limit hours = {limit:.4g} reached"
