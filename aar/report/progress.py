"""How far a campaign came, over its running time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from aar.report.clock import RunningClock, running_clock
from aar.scoring.submissions import SubmissionView, list_submissions
from aar.store.event_log import read

_BATCH = 500


@dataclass(frozen=True, slots=True)
class ScorePoint:
    """One measured submission: minutes of running when it was measured, its score and 90 % interval."""

    minutes: float
    submission: SubmissionView
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Scores over time, and idea diversity over time where it was measured.

    Args:
        points: by time.
        frontier: (minutes, best score so far), a step for each improvement.
        minutes: length of the whole run so far.
        diversity: (minutes, bits).
    """

    points: list[ScorePoint]
    frontier: list[tuple[float, float]]
    minutes: float
    diversity: list[tuple[float, float]]


def all_submissions(session: Session, campaign_id: str) -> list[SubmissionView]:
    """Every submission of a campaign, by number."""
    found: list[SubmissionView] = []
    while True:
        batch = list_submissions(session, campaign_id, after=found[-1].number if found else 0, limit=_BATCH)
        found += batch
        if len(batch) < _BATCH:
            return found


def progress(
    session: Session, campaign_id: str, submissions: Sequence[SubmissionView], *, higher_is_better: bool = True
) -> Progress:
    """The progress of a campaign so far.

    Args:
        submissions: from ``all_submissions``.
        higher_is_better: the problem's ``metric.higher_is_better``.
    """
    clock = running_clock(session, campaign_id)
    points = sorted(_points(submissions, clock), key=lambda point: point.minutes)
    return Progress(
        points=points,
        frontier=_frontier(points, higher_is_better),
        minutes=max([clock.total, *(point.minutes for point in points)]),
        diversity=_diversity(session, campaign_id, clock),
    )


def _points(submissions: Sequence[SubmissionView], clock: RunningClock) -> list[ScorePoint]:
    points = []
    for each in submissions:
        if each.mean is None or each.finished_at is None or each.status == "refuted":
            continue
        low = each.mean if each.low is None else each.low
        high = each.mean if each.high is None else each.high
        points.append(ScorePoint(clock.minutes(each.finished_at), each, each.mean, low, high))
    return points


def _frontier(points: Sequence[ScorePoint], higher_is_better: bool) -> list[tuple[float, float]]:
    steps: list[tuple[float, float]] = []
    for point in points:
        if not steps or (point.mean > steps[-1][1] if higher_is_better else point.mean < steps[-1][1]):
            steps.append((point.minutes, point.mean))
    return steps


def _diversity(session: Session, campaign_id: str, clock: RunningClock) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    after = 0
    while batch := read(session, campaign_id, after=after, limit=_BATCH, kinds=["diversity_measured"]):
        after = batch[-1].id
        found += [
            (clock.minutes(each.at), each.event.bits) for each in batch if each.event.kind == "diversity_measured"
        ]
    return found
