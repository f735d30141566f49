"""Progress of a campaign: scores, diversity and spending over time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Literal

from sqlalchemy import BigInteger, ColumnElement, select, type_coerce
from sqlalchemy.orm import Session

from aar.budget.ledger_entries import RELEASED, RESERVED
from aar.budget.totals import read_in_parts
from aar.campaign.running_time import RunningTime, read_running_time
from aar.events import DiversityMeasured
from aar.scoring.submissions import SubmissionView, list_submissions
from aar.scoring.visibility import Audience, submission_seen_by
from aar.store.database import get_cached, put_cached
from aar.store.event_log import LoggedEvent, read_events
from aar.store.models import LedgerEntry

_BATCH = 500
HorizontalAxis = Literal["hours", "usd"]
"""The horizontal axis of a chart: hours of running, or dollars billed."""
_NANO = 10**9


@dataclass(frozen=True, slots=True)
class ScorePoint:
    """One measured submission on a time axis.

    Minutes of running and dollars billed at its measurement, its score and interval.
    """

    minutes: float
    submission: SubmissionView
    mean: float
    low: float
    high: float
    usd: float = 0.0

    def at(self, over: HorizontalAxis) -> float:
        """Returns its position on an axis: minutes of running, or dollars."""
        return self.usd if over == "usd" else self.minutes


@dataclass(frozen=True, slots=True)
class DiversityPoint:
    """One measurement of idea diversity.

    Minutes of running, bits with their 90 % band, and the Vendi score if known.
    """

    minutes: float
    bits: float
    low: float | None = None
    high: float | None = None
    vendi: float | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """The scores and the idea diversity of a campaign over time.

    Args:
        points: by time, refuted ones too.
        frontier: the best so far, a point for each improvement; refuted ones do not count.
        minutes: length of the whole run so far.
        diversity: by time.
        usd: dollars billed so far.
    """

    points: list[ScorePoint]
    frontier: list[ScorePoint]
    minutes: float
    diversity: list[DiversityPoint]
    usd: float = 0.0


def list_visible_submissions(
    session: Session, campaign_id: str, audience: Audience = Audience.OPERATOR
) -> list[SubmissionView]:
    """Lists a campaign's submissions by number, as an audience may see them."""
    submissions: list[SubmissionView] = []
    while True:
        batch = list_submissions(session, campaign_id, after=submissions[-1].number if submissions else 0, limit=_BATCH)
        submissions += batch
        if len(batch) < _BATCH:
            return [submission_seen_by(each, audience) for each in submissions]


def read_progress(
    session: Session, campaign_id: str, submissions: Sequence[SubmissionView], *, higher_is_better: bool = True
) -> Progress:
    """Reads a campaign's progress so far.

    Args:
        submissions: from ``list_visible_submissions``.
        higher_is_better: the problem's ``metric.higher_is_better``.
    """
    clock = read_running_time(session, campaign_id)
    bill = read_spending(session, campaign_id)
    points = sorted(_points(submissions, clock, bill), key=lambda point: point.minutes)
    return Progress(
        points=points,
        frontier=_frontier(points, higher_is_better),
        minutes=max([clock.total, *(point.minutes for point in points)]),
        diversity=_diversity(session, campaign_id, clock),
        usd=bill.total,
    )


def _points(submissions: Sequence[SubmissionView], clock: RunningTime, bill: Spending) -> list[ScorePoint]:
    points = []
    for each in submissions:
        if each.mean is None or each.finished_at is None:
            continue
        low = each.mean if each.low is None else each.low
        high = each.mean if each.high is None else each.high
        points.append(
            ScorePoint(clock.minutes(each.finished_at), each, each.mean, low, high, bill.until(each.finished_at))
        )
    return points


def _frontier(points: Sequence[ScorePoint], higher_is_better: bool) -> list[ScorePoint]:
    best: list[ScorePoint] = []
    for point in points:
        if point.submission.status == "refuted":
            continue
        if not best or (point.mean > best[-1].mean if higher_is_better else point.mean < best[-1].mean):
            best.append(point)
    return best


def _diversity(session: Session, campaign_id: str, clock: RunningTime) -> list[DiversityPoint]:
    key = ("diversity", campaign_id)
    events: list[LoggedEvent] = list(get_cached(session, key) or ())
    cached = len(events)
    while batch := read_events(
        session, campaign_id, after=events[-1].id if events else 0, limit=_BATCH, kinds=["diversity_measured"]
    ):
        events += batch
    if len(events) > cached:
        put_cached(session, key, tuple(events))  # the log is append-only
    return [
        DiversityPoint(clock.minutes(each.at), measured.bits, measured.low, measured.high, measured.vendi)
        for each in events
        if isinstance(measured := each.event, DiversityMeasured)
    ]


@dataclass(frozen=True, slots=True)
class SpendingSeries:
    """The cumulative bill as a series.

    Times of charges in order, and the billionths of a dollar billed in all until each.
    """

    moments: Sequence[datetime]
    sums: Sequence[int]

    def until(self, at: datetime) -> int:
        """Returns the billionths of a dollar billed until a time."""
        charges = bisect_right(self.moments, at)
        return self.sums[charges - 1] if charges else 0


@dataclass(frozen=True, slots=True)
class Spending:
    """The bills of a campaign."""

    bills: Sequence[SpendingSeries]

    def until(self, at: datetime) -> float:
        """Returns the dollars billed until a time."""
        return sum(each.until(at) for each in self.bills) / _NANO

    @property
    def total(self) -> float:
        """Returns the total dollars billed."""
        return sum(each.sums[-1] for each in self.bills if each.sums) / _NANO


def read_spending(session: Session, campaign_id: str) -> Spending:
    """Reads a campaign's bill from its ledger.

    Charges lost in a crash count from the time at which that was noted.
    """
    entry = LedgerEntry

    def read(which: ColumnElement[bool]) -> tuple[SpendingSeries, int]:
        rows = session.execute(
            select(entry.settled_at, type_coerce(entry.usd, BigInteger), entry.state)
            .where(which)
            .order_by(entry.settled_at, entry.id)
        ).all()
        billed = [
            (at, usd) for at, usd, state in rows if at is not None and usd > 0 and state not in (RESERVED, RELEASED)
        ]
        return SpendingSeries([at for at, _ in billed], list(accumulate(usd for _, usd in billed))), len(rows)

    return Spending(read_in_parts(session, campaign_id, "spending", read))
