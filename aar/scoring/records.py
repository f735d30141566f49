"""The only writers of scores: each function changes rows and appends its event in the caller's transaction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.errors import ProblemError
from aar.events import ScoringRunFinished, SubmissionMeasured, SubmissionRejected
from aar.problems.protocol import Estimate, Metric, Stage, Task, TaskScore
from aar.scoring import verdicts
from aar.scoring.leaderboard import leaderboard
from aar.scoring.submissions import SHOWN_DECIMALS
from aar.scoring.trial import Trial
from aar.store.event_log import append, lock_campaign
from aar.store.models import ScoringRun, Submission
from aar.store.types import now


@dataclass(frozen=True, slots=True)
class PooledScores:
    """All scores of one code: what an estimate is made of.

    Args:
        scores: of every submission of the code that succeeded, in the order of submission and run. The folders of
            their tasks are gone.
        seeds: how many seeds that is.
    """

    scores: Sequence[tuple[Task, TaskScore]]
    seeds: int


def start_run(session: Session, run_id: int) -> None:
    """Note that a run begins."""
    run = session.get_one(ScoringRun, run_id)
    if run.state == "queued":
        run.state, run.started_at = "running", now()


def finish_run(session: Session, campaign_id: str, run_id: int, trial: Trial) -> bool:
    """Record a run's result once; returns False, changing nothing, if it has one already."""
    lock_campaign(session, campaign_id)
    run = session.get_one(ScoringRun, run_id, populate_existing=True)
    if run.state not in ("queued", "running"):
        return False
    submission = session.get_one(Submission, run.submission_id)
    run.state = "failed" if trial.score is None else "scored"
    run.verdict, run.output_digest, run.seconds = trial.verdict, trial.output_digest, trial.seconds
    run.parts = {} if trial.score is None else {name: float(part) for name, part in trial.score.parts.items()}
    finished = ScoringRunFinished(
        submission_id=submission.id,
        number=submission.number,
        index=run.index,
        domain=run.domain,
        verdict="scored" if trial.failure is None else trial.failure.value.replace("_", " "),
        seconds=trial.seconds,
    )
    append(session, campaign_id, finished, submission.researcher_id)
    return True


def pooled_scores(session: Session, submission_id: int) -> PooledScores:
    """The scores of a submission and of all measured ones with the same code."""
    submission = session.get_one(Submission, submission_id)
    rows = session.execute(
        select(ScoringRun)
        .join(Submission, Submission.id == ScoringRun.submission_id)
        .where(Submission.campaign_id == submission.campaign_id, Submission.digest == submission.digest)
        .where((Submission.id == submission_id) | (Submission.state == "measured"))
        .where(ScoringRun.stage == Stage.MEASURE, ScoringRun.state == "scored")
        .order_by(Submission.number, ScoringRun.index)
    ).scalars()
    gone = Path("/nonexistent")
    scores = [(Task(row.domain, Stage.MEASURE, row.split_seed, gone, gone), TaskScore(parts=row.parts)) for row in rows]
    domains = {task.domain for task, _ in scores}
    return PooledScores(scores, len(scores) // max(1, len(domains)))


def measure(
    session: Session, submission_id: int, estimate: Estimate, *, seeds: int, domains: int, metric: Metric
) -> None:
    """Give a submission its score, and the same score to all measured ones with the same code.

    Args:
        estimate: pooled over ``pooled_scores``.
        seeds: how many seeds were pooled.
        domains: how many domains each seed was run on.

    Raises:
        ProblemError: the estimate is not a finite number.
    """
    if not all(map(math.isfinite, (estimate.mean, estimate.standard_error, estimate.low, estimate.high))):
        raise ProblemError(f"the problem pooled {metric.name} to {estimate.mean} ± {estimate.standard_error}")
    submission = session.get_one(Submission, submission_id)
    lock_campaign(session, submission.campaign_id)
    if submission.state != "scoring":
        return
    submission.state, submission.status, submission.finished_at = "measured", "measured", now()
    same_code = session.scalars(
        select(Submission).where(
            Submission.campaign_id == submission.campaign_id,
            Submission.digest == submission.digest,
            Submission.state == "measured",
        )
    ).all()
    by_domain = {domain: asdict(part) for domain, part in estimate.by_domain.items()}
    for each in {submission, *same_code}:
        each.mean, each.standard_error = estimate.mean, estimate.standard_error
        each.low, each.high, each.seeds, each.by_domain = estimate.low, estimate.high, seeds, by_domain
    session.flush()
    board = leaderboard(session, submission.campaign_id, higher_is_better=metric.higher_is_better)
    row = next(row for row in board if row.submission.digest == submission.digest)
    for each in {submission, *same_code}:
        each.verdict = verdicts.measured(
            each.number, metric, estimate, seeds=seeds, domains=domains, row=row, rows=len(board), leader=board[0]
        )
    happened = SubmissionMeasured(
        submission_id=submission.id,
        number=submission.number,
        metric=metric.name,
        score=round(estimate.mean, SHOWN_DECIMALS),
        standard_error=round(estimate.standard_error, SHOWN_DECIMALS),
        best=row.rank == 1,
    )
    append(session, submission.campaign_id, happened, submission.researcher_id)


def reject(session: Session, submission_id: int) -> None:
    """Close a submission whose first failed run says why; its runs without a result are skipped."""
    submission = session.get_one(Submission, submission_id)
    lock_campaign(session, submission.campaign_id)
    if submission.state != "scoring":
        return
    rows = session.scalars(
        select(ScoringRun).where(ScoringRun.submission_id == submission_id).order_by(ScoringRun.index)
    ).all()
    for row in rows:
        if row.state in ("queued", "running"):
            row.state = "skipped"
    bad = next(row for row in rows if row.state == "failed")
    submission.state, submission.finished_at = "rejected", now()
    submission.verdict = verdicts.rejected(submission.number, bad.index, len(rows), bad.domain, bad.verdict)
    headline = submission.verdict.splitlines()[0].removeprefix(f"s{submission.number} rejected: ")
    happened = SubmissionRejected(submission_id=submission.id, number=submission.number, verdict=headline)
    append(session, submission.campaign_id, happened, submission.researcher_id)
