"""A campaign's running time in minutes, without pauses, as the time axis of charts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.store.models import EventRecord

_STARTS = ("campaign_started",)
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
    def total(self) -> float:
        """Return the minutes run in all."""
        return sum(span.seconds for span in self.spans) / 60


def read_running_time(session: Session, campaign_id: str) -> RunningTime:
    """Read the running time of a campaign.

    A period that a crash cut off ends with its last event.

    If a controller recorded its running time, that counts: between two readings of the machine's clock somebody may
    have set it, or the machine slept.
    """
    of_campaign = EventRecord.campaign_id == campaign_id
    marks = session.execute(
        select(EventRecord.id, EventRecord.kind, EventRecord.at, EventRecord.payload)
        .where(of_campaign, EventRecord.kind.in_(_STARTS + _ENDS))
        .order_by(EventRecord.id + 0)  # an expression: SQLite then finds the few by kind, instead of reading the log
    ).all()
    spans: list[Span] = []
    since: tuple[int, datetime] | None = None

    def end(since: datetime, until: datetime, told: float | None = None) -> None:
        spans.append(Span(since, max((until - since).total_seconds(), 0.0) if told is None else told))

    def cut_off(upto: int | None) -> None:
        if since is None:
            return
        query = select(func.max(EventRecord.id)).where(of_campaign, EventRecord.id >= since[0])
        last = session.scalar(query if upto is None else query.where(EventRecord.id < upto))
        end(since[1], session.get_one(EventRecord, last).at)

    for mark in marks:
        if mark.kind in _STARTS:
            cut_off(mark.id)
            since = (mark.id, mark.at)
        elif since is not None:
            end(since[1], mark.at, mark.payload.get("seconds"))
            since = None
    cut_off(None)
    return RunningTime(spans)
