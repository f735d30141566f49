"""The queue of confirmations and transfer checks, claimed when no submission waits.

The queue is in the database. The campaign's end adds the last ones: of the best, and of winners on transfer domains.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.errors import Conflict, UsageError
from aar.events import CheckStarted
from aar.problems.protocol import Problem
from aar.scoring.phases import CONFIRM, CONFIRMATION, ON_TRANSFER_DOMAINS, TRANSFER, Phase
from aar.scoring.results.leaderboard import read_leaderboard
from aar.scoring.submission_queue import ScoringJob, fair_order, insert_runs, last_served, load_job
from aar.scoring.submission_status import SCORER, submissions_of_same_code
from aar.store.column_types import now
from aar.store.event_log import append_event, lock_campaign
from aar.store.models import Submission, SubmissionCheck

OPEN_CHECK_STATES = ("queued", "running")


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """The settings of confirmations and transfer checks.

    Args:
        confirm_seeds: seeds of a confirmation, each on every domain climbed on.
        audit_seeds: seeds of each run that an audit requests, and of a run on the transfer domains.
        top: how many of a campaign's best will be confirmed in the end; it sets how much a confirmation may fall.
        leaders: whether a submission that would take first place is confirmed without a request.
    """

    confirm_seeds: int
    audit_seeds: int = 2
    top: int = 5
    leaders: bool = False


@dataclass(frozen=True, slots=True)
class CheckView:
    """A check: ``kind`` is confirmation or transfer, ``state`` queued, running, done or failed."""

    id: int
    number: int
    submission_id: int
    kind: str
    state: str
    cause: str
    by: str
    created_at: datetime
    finished_at: datetime | None


def request_check(session: Session, campaign_id: str, submission_id: int, kind: str, cause: str, by: str) -> CheckView:
    """Request a check of a measured submission.

    Of files submitted several times, the first valid submission is checked.

    While one of the kind is queued or running, it is returned and nothing is changed.

    Args:
        session: in a write transaction.
        kind: ``confirmation`` or ``transfer``.
        cause: the reason, for people.
        by: the requester: ``scorer``, or a person.

    Raises:
        UsageError: another kind.
        Conflict: the submission is not measured, or disqualified.
    """
    if kind not in (CONFIRMATION, TRANSFER):
        raise UsageError(f"unknown check: got {kind[:40]!r}, expected {CONFIRMATION} or {TRANSFER}", "Name one of them")
    lock_campaign(session, campaign_id)
    named = session.get_one(Submission, submission_id)
    if named.state != "measured":
        raise Conflict(f"s{named.number} cannot be checked: got a {named.state} submission, expected a measured one")
    if named.disqualified:
        raise Conflict(f"s{named.number} is disqualified: {named.disqualified}", "Reinstate it first")
    submission = next(each for each in submissions_of_same_code(session, named) if not each.disqualified)
    row = session.scalars(
        select(SubmissionCheck).where(
            SubmissionCheck.submission_id == submission.id,
            SubmissionCheck.kind == kind,
            SubmissionCheck.state.in_(OPEN_CHECK_STATES),
        )
    ).first()
    if row is None:
        row = SubmissionCheck(campaign_id=campaign_id, submission_id=submission.id, kind=kind, cause=cause, by=by[:64])
        session.add(row)
        session.flush()
    return _view(row, submission.number)


def list_checks(session: Session, campaign_id: str, submission_id: int | None = None) -> list[CheckView]:
    """List the checks of a campaign or of one submission, oldest first."""
    query = (
        select(SubmissionCheck, Submission.number)
        .join(Submission, Submission.id == SubmissionCheck.submission_id)
        .where(SubmissionCheck.campaign_id == campaign_id)
    )
    if submission_id is not None:
        query = query.where(SubmissionCheck.submission_id == submission_id)
    return [_view(*row) for row in session.execute(query.order_by(SubmissionCheck.id))]


def had_check(session: Session, submission_id: int, kind: str, states: Sequence[str] | None = None) -> bool:
    """Return True if a submission has or had a check of a kind, in one of the states where given."""
    query = select(SubmissionCheck.id).where(
        SubmissionCheck.submission_id == submission_id, SubmissionCheck.kind == kind
    )
    if states is not None:
        query = query.where(SubmissionCheck.state.in_(states))
    return session.scalars(query.limit(1)).first() is not None


def claim_check(
    session: Session, campaign_id: str, problem: Problem, plan: CheckPlan, audit_phases: Sequence[Phase], secret: str
) -> ScoringJob | None:
    """Claim the next check and draw its seeds; None if none is queued.

    Splits are drawn too.

    Researchers take turns as with submissions. The rows of all its runs are written at once.

    Args:
        audit_phases: runs that the audits of a confirmation need.
        secret: the draws are derived from it.
    """
    lock_campaign(session, campaign_id)
    waiting = {
        row.id: (row, submission)
        for row, submission in session.execute(
            select(SubmissionCheck, Submission)
            .join(Submission, Submission.id == SubmissionCheck.submission_id)
            .where(SubmissionCheck.campaign_id == campaign_id, SubmissionCheck.state == "queued")
            .where(Submission.disqualified == "")  # it waits until a person reinstates it
        )
    }
    authors = [(check_id, submission.researcher_id) for check_id, (_, submission) in waiting.items()]
    order = fair_order(authors, last_served(session, campaign_id, checks=True))
    if not order:
        return None
    check, submission = waiting[order[0]]
    check.state = "running"
    stages = [(ON_TRANSFER_DOMAINS, problem.transfer_domains, plan.audit_seeds)]
    if check.kind == CONFIRMATION:
        stages = [(CONFIRM, problem.climbed_domains, plan.confirm_seeds)]
        stages += [(phase, problem.climbed_domains, plan.audit_seeds) for phase in audit_phases]
    for phase, domains, seeds in stages:
        insert_runs(session, submission, phase, domains=domains, seeds=seeds, secret=secret, check_id=check.id)
    job = load_job(session, submission, check.id)
    started = CheckStarted(
        submission_id=submission.id, number=submission.number, check=check.kind, runs=job.runs, cause=check.cause
    )
    append_event(session, campaign_id, started, submission.researcher_id)
    return job


def recover_checks(session: Session, campaign_id: str) -> list[ScoringJob]:
    """Recover the unfinished checks of a former controller.

    Runs with a result are not repeated; the others start again.
    """
    running = session.execute(
        select(SubmissionCheck, Submission)
        .join(Submission, Submission.id == SubmissionCheck.submission_id)
        .where(SubmissionCheck.campaign_id == campaign_id, SubmissionCheck.state == "running")
        .order_by(SubmissionCheck.id)
    )
    return [load_job(session, submission, check.id) for check, submission in running.all()]


def count_open_checks(session: Session, campaign_id: str) -> int:
    """Count the checks that are still open, without those of disqualified submissions."""
    query = (
        select(func.count())
        .select_from(SubmissionCheck)
        .join(Submission, Submission.id == SubmissionCheck.submission_id)
        .where(SubmissionCheck.campaign_id == campaign_id, SubmissionCheck.state.in_(OPEN_CHECK_STATES))
        .where((Submission.disqualified == "") | (SubmissionCheck.state == "running"))
    )
    return session.scalar(query) or 0


def close_check(session: Session, check_id: int, state: str) -> SubmissionCheck | None:
    """Close a running check as ``done`` or ``failed``; None if it is closed already.

    A closed check is not changed.
    """
    check = session.get_one(SubmissionCheck, check_id)
    lock_campaign(session, check.campaign_id)
    session.refresh(check)
    if check.state != "running":
        return None
    check.state, check.finished_at = state, now()
    return check


def _view(row: SubmissionCheck, number: int) -> CheckView:
    return CheckView(
        id=row.id,
        number=number,
        submission_id=row.submission_id,
        kind=row.kind,
        state=row.state,
        cause=row.cause,
        by=row.by,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


def request_top_confirmations(
    session: Session, campaign_id: str, problem: Problem, top: int, *, skip: Collection[int] = ()
) -> list[int]:
    """Request a confirmation for each of the first rows that has none.

    Returns the submissions that are waited for.

    Args:
        skip: submissions that were requested before; if one is not settled yet, the next row moves up.
    """
    requested = []
    board = read_leaderboard(session, campaign_id, higher_is_better=problem.metric.higher_is_better)
    rows = [row.submission for row in board if row.submission.status != "measured" or row.submission.id not in skip]
    for submission in rows[:top]:
        if submission.status == "measured":
            cause = f"among the first {top} at the end"
            request_check(session, campaign_id, submission.id, CONFIRMATION, cause, SCORER)
            requested.append(submission.id)
    return requested


def request_transfer_runs(session: Session, campaign_id: str, problem: Problem, top: int) -> int:
    """Request transfer runs for the first confirmed rows that had none; returns how many."""
    if not problem.transfer_domains:
        return 0
    board = read_leaderboard(session, campaign_id, higher_is_better=problem.metric.higher_is_better)
    confirmed = [row.submission for row in board if row.submission.status == "confirmed"]
    requested = [each for each in confirmed[:top] if not had_check(session, each.id, TRANSFER, ("done", "failed"))]
    for submission in requested:
        request_check(session, campaign_id, submission.id, TRANSFER, f"among the first {top} confirmed", SCORER)
    return len(requested)
