"""Writes scores: each function changes rows and appends its event in one transaction.

No other module writes scores. The transaction is the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.events import ProblemFailed, ScoringRunFinished, SubmissionMeasured, SubmissionRejected
from aar.problems.protocol import Estimate, Metric, Task, TaskScore
from aar.problems.statistics import check_estimate
from aar.scoring.audits.audit_findings import latest_findings
from aar.scoring.cleanroom.clean_room import ScoringRunResult
from aar.scoring.phases import MEASURE, Phase
from aar.scoring.results import verdict_messages
from aar.scoring.results.disclosure import decide_disclosure, next_disclosure
from aar.scoring.results.leaderboard import read_leaderboard, read_ranked_rows
from aar.scoring.submission_queue import skip_unfinished
from aar.scoring.submission_status import log_status_change, submissions_of_same_code
from aar.scoring.submissions import SHOWN_DECIMALS, WITHHELD
from aar.store.column_types import now
from aar.store.event_log import append_event, lock_campaign
from aar.store.models import ScoringRun, Submission


@dataclass(frozen=True, slots=True)
class PooledScores:
    """All scores of the same files, as the input of one estimate.

    Args:
        scores: of every submission of them that succeeded, in the order of submission and run. The folders of
            their tasks are gone.
        seeds: the number of their seeds.
    """

    scores: Sequence[tuple[Task, TaskScore]]
    seeds: int


def start_run(session: Session, run_id: int) -> None:
    """Record that a run begins."""
    run = session.get_one(ScoringRun, run_id)
    if run.state == "queued":
        run.state, run.started_at = "running", now()


def finish_run(session: Session, campaign_id: str, run_id: int, result: ScoringRunResult) -> bool:
    """Record a run's result; returns False, changing nothing, if it has one already."""
    lock_campaign(session, campaign_id)
    run = session.get_one(ScoringRun, run_id, populate_existing=True)
    if run.state not in ("queued", "running"):
        return False
    submission = session.get_one(Submission, run.submission_id)
    run.state = "failed" if result.score is None else "scored"
    run.verdict, run.output_digest, run.seconds = result.verdict, result.output_digest, result.seconds
    run.parts = {} if result.score is None else {name: float(part) for name, part in result.score.parts.items()}
    finished = ScoringRunFinished(
        submission_id=submission.id,
        number=submission.number,
        index=run.index,
        phase=run.stage,
        domain=run.domain,
        verdict="scored" if result.failure is None else result.failure.value.replace("_", " "),
        seconds=result.seconds,
    )
    append_event(session, campaign_id, finished, submission.researcher_id)
    if result.fault:
        log_problem_fault(session, submission, result.fault)
    return True


def log_problem_fault(session: Session, submission: Submission, cause: str) -> None:
    """Notify people that a problem's own code failed over a submission."""
    event = ProblemFailed(submission_id=submission.id, number=submission.number, error=" ".join(cause.split())[:500])
    append_event(session, submission.campaign_id, event, submission.researcher_id)


def read_pooled_scores(session: Session, submission_id: int, phase: Phase = MEASURE) -> PooledScores:
    """Read one phase's scores of a submission and all others of the same files."""
    submission = session.get_one(Submission, submission_id)
    rows = session.execute(
        select(ScoringRun)
        .join(Submission, Submission.id == ScoringRun.submission_id)
        .where(Submission.campaign_id == submission.campaign_id, Submission.digest == submission.digest)
        .where((Submission.id == submission_id) | (Submission.state == "measured"))
        .where(ScoringRun.stage == phase.key, ScoringRun.state == "scored")
        .order_by(Submission.number, ScoringRun.index)
    ).scalars()
    gone = Path("/nonexistent")
    scores = [(Task(row.domain, phase.stage, row.split_seed, gone, gone), TaskScore(parts=row.parts)) for row in rows]
    domains = {task.domain for task, _ in scores}
    return PooledScores(scores, len(scores) // max(1, len(domains)))


def record_measurement(
    session: Session, submission_id: int, estimate: Estimate, *, seeds: int, domains: int, metric: Metric
) -> None:
    """Record a submission's score, and the same for all others of its files.

    Args:
        estimate: pooled over ``read_pooled_scores``.
        seeds: how many seeds were pooled.
        domains: how many domains each seed was run on.

    Raises:
        ProblemError: the estimate is not a finite number.
    """
    check_estimate(estimate)
    submission = session.get_one(Submission, submission_id)
    lock_campaign(session, submission.campaign_id)
    if submission.state != "scoring":
        return
    earlier = submissions_of_same_code(session, submission)
    submission.state, submission.finished_at = "measured", now()
    by_domain = {domain: asdict(part) for domain, part in estimate.by_domain.items()}
    for each in (submission, *earlier):
        each.mean, each.standard_error = estimate.mean, estimate.standard_error
        each.low, each.high, each.seeds, each.by_domain = estimate.low, estimate.high, seeds, by_domain
        each.freedom = estimate.freedom
    _give_status(session, submission, earlier[0] if earlier else None, f"{seeds} seeds on {domains} domains")
    how, best = decide_disclosure(session, submission, metric)
    for each in (submission, *earlier):
        each.telling = next_disclosure(each.telling, how)
    # As researchers see it: a place among withheld scores would reveal them.
    board = read_leaderboard(
        session, submission.campaign_id, higher_is_better=metric.higher_is_better, disclosed_only=True
    )
    row = next((row for row in board if row.submission.identity == submission.identity), None)
    leader = board[0] if board else None
    found = latest_findings(session, [each.id for each in (submission, *earlier)])
    for each in (submission, *earlier):
        text = (
            verdict_messages.withheld_verdict(each, metric, best)
            if how == WITHHELD
            else verdict_messages.measurement_verdict(
                each.number, metric, estimate, seeds=seeds, domains=domains, row=row, rows=len(board), leader=leader
            )
        )
        each.verdict = "\n".join(
            filter(None, (text, verdict_messages.confirmation_verdict(each.status, found[each.id])))
        )
    first = read_ranked_rows(session, submission.campaign_id, higher_is_better=metric.higher_is_better)[:1]
    event = SubmissionMeasured(
        submission_id=submission.id,
        number=submission.number,
        metric=metric.name,
        score=round(estimate.mean, SHOWN_DECIMALS),
        standard_error=round(estimate.standard_error, SHOWN_DECIMALS),
        told=how != WITHHELD,
        best=any(leading.submission.identity == submission.identity for leading in first),
    )
    append_event(session, submission.campaign_id, event, submission.researcher_id)


def _give_status(session: Session, submission: Submission, first: Submission | None, basis: str) -> None:
    """Set the status to measured, or to the status known for the same files."""
    submission.status = "measured"
    log_status_change(session, submission, "claimed", "measured", basis)
    if first is None:
        return
    cause = f"the same files as s{first.number}"
    if first.status in ("confirmed", "refuted"):
        submission.status = first.status
        log_status_change(session, submission, "measured", first.status, cause)
    if first.disqualified and first.researcher_id == submission.researcher_id:
        submission.disqualified = first.disqualified
        log_status_change(session, submission, submission.status, "disqualified", f"{first.disqualified}: {cause}")


def reject_submission(session: Session, submission_id: int) -> None:
    """Reject a submission because of its first failed run; its unfinished runs are skipped."""
    submission = session.get_one(Submission, submission_id)
    lock_campaign(session, submission.campaign_id)
    if submission.state != "scoring":
        return
    rows = skip_unfinished(session, submission_id, None)
    bad = next(row for row in rows if row.state == "failed")
    _reject(
        session,
        submission,
        verdict_messages.rejection_verdict(submission.number, bad.index, len(rows), bad.domain, bad.verdict),
    )


def set_aside_submission(session: Session, submission_id: int, cause: str, fault: str) -> None:
    """Close a submission whose score the problem cannot compute, so that others go on.

    Its runs succeeded.

    Args:
        cause: for its author.
        fault: the error in the problem's code, for people.
    """
    submission = session.get_one(Submission, submission_id)
    lock_campaign(session, submission.campaign_id)
    if submission.state == "scoring":
        _reject(session, submission, f"s{submission.number} rejected: {cause}")
        log_problem_fault(session, submission, fault)


def _reject(session: Session, submission: Submission, verdict: str) -> None:
    submission.state, submission.finished_at, submission.verdict = "rejected", now(), verdict
    headline = submission.verdict.splitlines()[0].removeprefix(f"s{submission.number} rejected: ")
    event = SubmissionRejected(submission_id=submission.id, number=submission.number, verdict=headline)
    append_event(session, submission.campaign_id, event, submission.researcher_id)
    log_status_change(session, submission, "claimed", "rejected", headline)
