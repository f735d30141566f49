"""The log of submission statuses: append-only changes, with cause and author."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.events import StatusChanged
from aar.store.event_log import append_event
from aar.store.models import StatusChange, Submission

SCORER = "scorer"
"""The author of changes that no person requested."""


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
    happened = StatusChanged(
        submission_id=submission.id, number=submission.number, old=old, new=new, cause=cause, by=by
    )
    append_event(session, submission.campaign_id, happened, submission.researcher_id)


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
