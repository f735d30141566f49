"""The queue of submissions: in the database, so that it outlives the controller, and fair between researchers."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.events import ScoringStarted
from aar.problems.protocol import Stage
from aar.scoring.seeds import draw
from aar.scoring.work import RunTicket, Work
from aar.store.event_log import append, lock_campaign
from aar.store.models import ScoringRun, Submission


@dataclass(frozen=True, slots=True)
class QueueState:
    """Who is being scored and who waits.

    Args:
        scoring: numbers of the submissions being scored.
        waiting: numbers of the queued ones in the order in which they will be taken.
        run_seconds: mean seconds of the campaign's finished runs; None before the first.
    """

    scoring: tuple[int, ...]
    waiting: tuple[int, ...]
    run_seconds: float | None

    def ahead_of(self, number: int) -> int | None:
        """How many submissions come before a queued one; None when it is not queued."""
        return len(self.scoring) + self.waiting.index(number) if number in self.waiting else None


def queue_state(session: Session, campaign_id: str) -> QueueState:
    """The queue as it stands."""
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
    waiting = fair_order(_queued(session, campaign_id), _last_served(session, campaign_id))
    return QueueState(tuple(scoring), tuple(waiting), seconds)


def fair_order(queued: Sequence[tuple[int, str]], last_served: Mapping[str, int]) -> list[int]:
    """Round-robin: whoever was served longest ago comes next, with the oldest of its submissions.

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


def claim_next(
    session: Session,
    campaign_id: str,
    *,
    domains: Sequence[str],
    seeds: int,
    secret: str,
    skip: Collection[str] = (),
) -> Work | None:
    """Take the next submission up and draw its seeds and splits; None when nothing is queued.

    The rows of all its runs are written at once, so that a restart finds the same draws.

    Args:
        domains: each seed is run on every one of them.
        secret: what the draws are derived from.
        skip: researchers whose submissions have to wait.
    """
    lock_campaign(session, campaign_id)
    queued = [(number, author) for number, author in _queued(session, campaign_id) if author not in skip]
    order = fair_order(queued, _last_served(session, campaign_id))
    if not order:
        return None
    submission = session.scalars(
        select(Submission).where(Submission.campaign_id == campaign_id, Submission.number == order[0])
    ).one()
    submission.state = "scoring"
    for index in range(seeds * len(domains)):
        drawn = draw(secret, Stage.MEASURE, submission.number, submission.digest, index)
        session.add(
            ScoringRun(
                submission_id=submission.id,
                index=index,
                stage=Stage.MEASURE,
                domain=domains[index % len(domains)],
                seed=drawn.seed,
                split_seed=drawn.split_seed,
                state="queued",
            )
        )
    started = ScoringStarted(submission_id=submission.id, number=submission.number, runs=seeds * len(domains))
    append(session, campaign_id, started, submission.researcher_id)
    return _work(session, submission)


def take_up(session: Session, campaign_id: str) -> list[Work]:
    """The submissions that a former controller left half scored; runs with a result keep it, the others start again."""
    left = session.scalars(
        select(Submission)
        .where(Submission.campaign_id == campaign_id, Submission.state == "scoring")
        .order_by(Submission.number)
    ).all()
    return [_work(session, submission) for submission in left]


def count_unfinished(session: Session, campaign_id: str, skip: Collection[str] = ()) -> int:
    """How many submissions still await their verdict, without those of the researchers in ``skip``."""
    query = (
        select(func.count())
        .select_from(Submission)
        .where(Submission.campaign_id == campaign_id, Submission.state.in_(("queued", "scoring")))
        .where(Submission.researcher_id.not_in(list(skip)))
    )
    return session.scalar(query) or 0


def _work(session: Session, submission: Submission) -> Work:
    rows = session.scalars(
        select(ScoringRun).where(ScoringRun.submission_id == submission.id).order_by(ScoringRun.index)
    ).all()
    pending: deque[RunTicket] = deque()
    for row in rows:
        if row.state in ("queued", "running"):
            row.state = "queued"
            pending.append(RunTicket(row.id, row.index, Stage(row.stage), row.domain, row.seed, row.split_seed))
    return Work(
        submission_id=submission.id,
        number=submission.number,
        researcher_id=submission.researcher_id,
        digest=submission.digest,
        runs=len(rows),
        pending=pending,
        unfinished=len(pending),
        failed=any(row.state == "failed" for row in rows),
    )


def _queued(session: Session, campaign_id: str) -> list[tuple[int, str]]:
    query = select(Submission.number, Submission.researcher_id).where(
        Submission.campaign_id == campaign_id, Submission.state == "queued"
    )
    return [(row[0], row[1]) for row in session.execute(query)]


def _last_served(session: Session, campaign_id: str) -> dict[str, int]:
    # The rows of a submission's runs are written when it is claimed, so their ids tell the order of claims.
    query = (
        select(Submission.researcher_id, func.max(ScoringRun.id))
        .join(ScoringRun, ScoringRun.submission_id == Submission.id)
        .where(Submission.campaign_id == campaign_id)
        .group_by(Submission.researcher_id)
    )
    return {row[0]: row[1] for row in session.execute(query)}
