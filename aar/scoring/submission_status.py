"""Statuses of submissions: their append-only log, disqualification and reinstatement.

Everybody can read the reason for a disqualification. Nothing is deleted: numbers, verdict and place in the queue stay
in the database, so that a reinstatement puts everything back as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.errors import Conflict
from aar.events import StatusChanged
from aar.forum.authors import SCORER_AUTHOR
from aar.forum.posts import create_post
from aar.store.column_types import now
from aar.store.event_log import append_event, lock_campaign
from aar.store.models import StatusChange, Submission
from aar.text import shorten

SCORER = "scorer"
"""The author of changes that no person requested."""
APPEAL_NOTE = (
    "Any researcher can ask a person for a review: post a question on the forum that names s{number}. "
    "A person can reinstate it, and everything is then as it was before."
)
_MAX_REASON = 2000


@dataclass(frozen=True, slots=True)
class StatusView:
    """One change: claimed, measured, rejected, confirmed, refuted, disqualified or reinstated."""

    old: str
    new: str
    cause: str
    by: str
    at: datetime


def log_status_change(
    session: Session, submission: Submission, old: str, new: str, cause: str, by: str = SCORER
) -> None:
    """Append a change to the log, with its event; the caller changes the submission."""
    session.flush()
    session.add(
        StatusChange(
            campaign_id=submission.campaign_id, submission_id=submission.id, old=old, new=new, cause=cause, by=by[:64]
        )
    )
    event = StatusChanged(submission_id=submission.id, number=submission.number, old=old, new=new, cause=cause, by=by)
    append_event(session, submission.campaign_id, event, submission.researcher_id)


def status_history(session: Session, submission_id: int) -> list[StatusView]:
    """List all changes of a submission, oldest first."""
    rows = session.scalars(
        select(StatusChange).where(StatusChange.submission_id == submission_id).order_by(StatusChange.id)
    )
    return [StatusView(row.old, row.new, row.cause, row.by, row.at) for row in rows]


def submissions_of_same_code(session: Session, submission: Submission) -> list[Submission]:
    """List all measured submissions of the same files, by number."""
    query = select(Submission).where(
        Submission.campaign_id == submission.campaign_id,
        Submission.digest == submission.digest,
        Submission.state == "measured",
    )
    return list(session.scalars(query.order_by(Submission.number)))


def disqualify(
    session: Session, submission_id: int, rule: str, reason: str, by: str, *, all_authors: bool = False
) -> None:
    """Disqualify a submission, with its author's others of the same files.

    A submission that was not measured yet is held: it is not run. Its score is no longer shown.

    Args:
        session: in a write transaction.
        rule: the broken rule, such as ``static.network``.
        reason: for everybody; it names no score, label or hidden path.
        by: an audit's name, or a person's.
        all_authors: also disqualify other authors' submissions of the same files; only for a person's decision.

    Raises:
        Conflict: it is disqualified already, or was rejected and so is not on the board.
    """
    submission = _locked(session, submission_id)
    if submission.disqualified:
        raise Conflict(f"s{submission.number} is disqualified already: {submission.disqualified}", "Reinstate it first")
    if submission.state == "rejected":
        raise Conflict(f"s{submission.number} was rejected: it has no score and no place on the board")
    cause = f"{rule}: {shorten(reason, _MAX_REASON)}"
    for each in _concerned(session, submission, all_authors):
        if each.disqualified:
            continue
        each.disqualified = rule[:64]
        if each.state in ("queued", "scoring"):
            each.state, each.finished_at = "held", now()
        note = cause if each is submission else f"{rule}: the same files as s{submission.number}"
        log_status_change(session, each, each.status, "disqualified", note, by)
    _post(
        session,
        submission,
        "error",
        f"disqualified: {rule}",
        f"{cause}\n\nDisqualified by: {by}\n\n{APPEAL_NOTE.format(number=submission.number)}",
    )


def reinstate(session: Session, submission_id: int, cause: str, by: str) -> None:
    """Reinstate a submission: measured ones to the board, held ones to the queue.

    Args:
        session: in a write transaction.
        cause: the reason, for everybody.
        by: the person.

    Raises:
        Conflict: it is not disqualified.
    """
    submission = _locked(session, submission_id)
    rule = submission.disqualified
    if not rule:
        raise Conflict(f"s{submission.number} is not disqualified")
    for each in _concerned(session, submission, all_authors=True):
        if each.disqualified != rule:
            continue
        each.disqualified = ""
        if each.state == "held":
            each.state, each.finished_at = "queued", None
        log_status_change(session, each, "disqualified", "reinstated", shorten(cause, _MAX_REASON), by)
    becomes = "It goes back to the queue." if submission.state == "queued" else "It is back on the board."
    text = f"{shorten(cause, _MAX_REASON)}\n\nReinstated by: {by}\n\n{becomes}"
    _post(session, submission, "result", f"reinstated (was {rule})", text)


def record_confirmation(session: Session, submission: Submission, status: str, cause: str, by: str) -> None:
    """Mark all measured submissions of the same files as confirmed or refuted.

    A refutation is posted on the forum.
    """
    if submission.status == status:
        return
    for each in submissions_of_same_code(session, submission):
        if each.status != status:
            old, each.status = each.status, status
            log_status_change(session, each, old, status, cause, by)
    if status == "refuted":
        text = f"{cause}\n\nIt is off the board. {APPEAL_NOTE.format(number=submission.number)}"
        _post(session, submission, "error", "refuted", text)


def _locked(session: Session, submission_id: int) -> Submission:
    submission = session.get_one(Submission, submission_id)
    lock_campaign(session, submission.campaign_id)
    session.refresh(submission)
    return submission


def _concerned(session: Session, submission: Submission, all_authors: bool) -> list[Submission]:
    query = select(Submission).where(
        Submission.campaign_id == submission.campaign_id,
        Submission.digest == submission.digest,
        Submission.state != "rejected",
    )
    if not all_authors:
        query = query.where(Submission.researcher_id == submission.researcher_id)
    return list(session.scalars(query.order_by(Submission.number)))


def _post(session: Session, submission: Submission, kind: str, what: str, body: str) -> None:
    create_post(
        session,
        submission.campaign_id,
        SCORER_AUTHOR,
        kind=kind,
        title=shorten(f"s{submission.number} {what}", 200),
        body=f"{submission.title}\n\n{body}",
        submission_number=submission.number,
    )
