"""The submission queue: stored in the database and fair between researchers.

It outlives the controller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.events import ScoringStarted
from aar.scoring.phases import MEASURE
from aar.scoring.queue.run_rows import insert_runs, load_job
from aar.scoring.queue.scoring_job import ScoringJob
from aar.store.event_log import append_event, lock_campaign
from aar.store.models import ScoringRun, Submission


@dataclass(frozen=True, slots=True)
class QueueState:
    """The state of the queue: submissions being scored and waiting.

    Args:
        scoring: numbers of the submissions being scored.
        waiting: numbers of the queued ones in the order in which they will be claimed.
        run_seconds: mean seconds of the campaign's finished runs; None before the first.
        runs_before: for each waiting number, how many runs come before its own.
        parallel: runs that go at once.
    """

    scoring: tuple[int, ...]
    waiting: tuple[int, ...]
    run_seconds: float | None
    runs_before: Mapping[int, int] = field(default_factory=dict)
    parallel: int = 1

    def count_ahead(self, number: int) -> int | None:
        """Count the submissions before a queued one; None if it is not queued."""
        return len(self.scoring) + self.waiting.index(number) if number in self.waiting else None

    def expected_wait(self, number: int) -> float | None:
        """Estimate the seconds until a queued submission's first run.

        None if it is not queued, or if no run has finished.
        """
        if self.run_seconds is None or number not in self.runs_before:
            return None
        return self.run_seconds * self.runs_before[number] / self.parallel


def read_queue(session: Session, campaign_id: str, *, parallel: int = 1) -> QueueState:
    """Return the current queue.

    Args:
        parallel: how many runs go at once, for the expected wait.
    """
    scoring = session.scalars(
        select(Submission.number)
        .where(Submission.campaign_id == campaign_id, Submission.state == "scoring")
        .order_by(Submission.number)
    )
    seconds = session.scalar(
        select(func.avg(ScoringRun.seconds))
        .join(Submission, Submission.id == ScoringRun.submission_id)
        .where(Submission.campaign_id == campaign_id, ScoringRun.state.in_(("scored", "failed")))
    )
    waiting = fair_order(_queued(session, campaign_id), last_served(session, campaign_id))
    before = _runs_before(session, campaign_id, waiting)
    return QueueState(tuple(scoring), tuple(waiting), seconds, before, max(1, parallel))


def _runs_before(session: Session, campaign_id: str, waiting: Sequence[int]) -> dict[int, int]:
    left = (
        select(func.count(ScoringRun.id))
        .join(Submission, Submission.id == ScoringRun.submission_id)
        .where(Submission.campaign_id == campaign_id, Submission.state == "scoring")
        .where(ScoringRun.check_id.is_(None), ScoringRun.state.in_(("queued", "running")))
    )
    charged = select(Submission.number, Submission.charged_runs).where(
        Submission.campaign_id == campaign_id, Submission.state == "queued"
    )
    runs = {row.number: row.charged_runs for row in session.execute(charged)}
    ahead, found = session.scalar(left) or 0, {}
    for number in waiting:
        found[number] = ahead
        ahead += runs[number]
    return found


def fair_order(queued: Sequence[tuple[int, str]], last_served: Mapping[str, int]) -> list[int]:
    """Order the queue round-robin, by the time each researcher was last served.

    Of the researcher served longest ago, the oldest submission comes next.

    Args:
        queued: (number, researcher) pairs.
        last_served: a growing mark of when each researcher was last served; absent for never.
    """
    lanes: dict[str, deque[int]] = {}
    for number, researcher in sorted(queued):
        lanes.setdefault(researcher, deque()).append(number)
    served = dict(last_served)
    mark = max(served.values(), default=0)
    order: list[int] = []
    while lanes:
        researcher = min(lanes, key=lambda name: (served.get(name, 0), lanes[name][0]))
        order.append(lanes[researcher].popleft())
        mark += 1
        served[researcher] = mark
        if not lanes[researcher]:
            del lanes[researcher]
    return order


def claim_submission(
    session: Session,
    campaign_id: str,
    *,
    domains: Sequence[str],
    seeds: int,
    secret: str,
    skip: Collection[str] = (),
) -> ScoringJob | None:
    """Claim the next submission and draw its seeds; None if none is queued.

    Splits are drawn too.

    The rows of all its runs are written at once, so that a restart finds the same draws.

    Args:
        domains: each seed is run on every one of them.
        secret: the draws are derived from it.
        skip: researchers whose submissions have to wait.
    """
    lock_campaign(session, campaign_id)
    queued = [(number, author) for number, author in _queued(session, campaign_id) if author not in skip]
    order = fair_order(queued, last_served(session, campaign_id))
    if not order:
        return None
    submission = session.scalars(
        select(Submission).where(Submission.campaign_id == campaign_id, Submission.number == order[0])
    ).one()
    submission.state = "scoring"
    work = load_job(session, submission)
    if not work.runs:  # one that was disqualified before it was run, and is reinstated, has its draws already
        insert_runs(session, submission, MEASURE, domains=domains, seeds=seeds, secret=secret)
        work = load_job(session, submission)
    started = ScoringStarted(submission_id=submission.id, number=submission.number, runs=work.runs)
    append_event(session, campaign_id, started, submission.researcher_id)
    return work


def recover_submissions(session: Session, campaign_id: str) -> list[ScoringJob]:
    """Recover the submissions that a former controller left unfinished.

    Runs with a result are not repeated; the others start again.
    """
    left = session.scalars(
        select(Submission)
        .where(Submission.campaign_id == campaign_id, Submission.state == "scoring")
        .order_by(Submission.number)
    ).all()
    return [load_job(session, submission) for submission in left]


def count_unfinished(session: Session, campaign_id: str, skip: Collection[str] = ()) -> int:
    """Count the submissions without a verdict, except those of researchers in ``skip``."""
    query = (
        select(func.count())
        .select_from(Submission)
        .where(Submission.campaign_id == campaign_id, Submission.state.in_(("queued", "scoring")))
        .where(Submission.researcher_id.not_in(list(skip)))
    )
    return session.scalar(query) or 0


def _queued(session: Session, campaign_id: str) -> list[tuple[int, str]]:
    query = select(Submission.number, Submission.researcher_id).where(
        Submission.campaign_id == campaign_id, Submission.state == "queued"
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def last_served(session: Session, campaign_id: str, *, checks: bool = False) -> dict[str, int]:
    """Return a growing mark of when each researcher was last served.

    Claims of submissions and of their checks count.
    """
    # The rows of a submission's runs are written when it is claimed, so their ids follow the order of claims.
    query = (
        select(Submission.researcher_id, func.max(ScoringRun.id))
        .join(ScoringRun, ScoringRun.submission_id == Submission.id)
        .where(Submission.campaign_id == campaign_id, ScoringRun.check_id.is_not(None) == checks)
        .group_by(Submission.researcher_id)
    )
    return {row[0]: row[1] for row in session.execute(query)}
