"""Accepts submissions: freezes code and claim before any score exists.

Nothing in this file writes a score; only ``score_writer`` does. Every researcher may submit the same files again: their
runs are then pooled with the earlier ones into one estimate, so running them again for luck gains nothing but a
narrower interval. Only equal digests are the same code: two methods that are equal in all else may still differ in what
they do.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.budget.limits import Limits, check_submission_quota
from aar.errors import Conflict, NotFound
from aar.events import SubmissionReceived
from aar.scoring.submissions.method_manifest import MethodManifest
from aar.scoring.submissions.status_log import log_status_change
from aar.scoring.submissions.submission_views import (
    FINAL_STATES,
    SHOWN_DECIMALS,
    SubmissionView,
    find_submission,
    select_submission_views,
    submission_view,
    submission_view_of_row,
)
from aar.snapshots.store import SavedSnapshot, record_snapshot, resolve_digest
from aar.store.event_log import append_event, lock_campaign
from aar.store.models import Researcher, Submission

__all__ = [
    "FINAL_STATES",
    "SHOWN_DECIMALS",
    "SubmissionView",
    "count_submissions",
    "get_submission",
    "invalidated_submissions",
    "list_submissions",
    "submission_view",
    "submit",
]


def submit(
    session: Session,
    *,
    campaign_id: str,
    researcher_id: str,
    saved: SavedSnapshot,
    manifest: MethodManifest,
    idempotency_key: str | None = None,
    limits: Limits | None = None,
    runs: int = 0,
) -> SubmissionView:
    """Freeze a method: its snapshot, its claim and its place in the queue.

    All of it happens in the caller's transaction.

    Args:
        saved: the snapshot of the method's directory, already in the snapshot store.
        manifest: the result of ``read_manifest`` for that same directory.
        idempotency_key: a second call with it returns the first one's submission and changes nothing.
        limits: quotas to check within this transaction; None checks none.
        runs: scoring runs that it will take, counted against the quotas.

    Raises:
        NotFound: no such campaign or researcher, or the manifest's parent names no snapshot.
        Conflict: these files were rejected or disqualified before, or the idempotency key is another researcher's.
        LimitReached: a quota of submissions or scoring runs is used up.
    """
    lock_campaign(session, campaign_id)
    author = session.get(Researcher, researcher_id)
    if author is None or author.campaign_id != campaign_id:
        raise NotFound(f"no researcher {researcher_id} in campaign {campaign_id}", "See `aar status`")
    if idempotency_key is not None:
        query = select_submission_views(campaign_id).where(Submission.idempotency_key == idempotency_key)
        earlier = session.execute(query).one_or_none()
        if earlier is not None:
            if earlier.researcher_id != researcher_id:
                raise Conflict(f"idempotency key {idempotency_key} belongs to another researcher", "Use a fresh key")
            return submission_view_of_row(earlier)
    if limits is not None:
        check_submission_quota(session, campaign_id, researcher_id, limits, runs)
    _refuse_known(session, campaign_id, saved.digest)
    parent = None if manifest.parent is None else resolve_digest(session, campaign_id, manifest.parent)
    record_snapshot(session, campaign_id, researcher_id, saved, parent)
    last = session.scalar(select(func.max(Submission.number)).where(Submission.campaign_id == campaign_id))
    submission = Submission(
        campaign_id=campaign_id,
        number=(last or 0) + 1,
        researcher_id=researcher_id,
        digest=saved.digest,
        parent=parent,
        title=manifest.title,
        claim=manifest.claim,
        hypothesis=manifest.hypothesis,
        identity=saved.digest,
        charged_runs=runs,
        families=list(manifest.families),
        state="queued",
        idempotency_key=idempotency_key,
    )
    session.add(submission)
    session.flush()
    received = SubmissionReceived(
        submission_id=submission.id, number=submission.number, title=submission.title, digest=submission.digest
    )
    append_event(session, campaign_id, received, researcher_id)
    log_status_change(session, submission, "", "claimed", "handed in", by=author.name)
    return submission_view(submission, author.name, author.model)


def get_submission(session: Session, campaign_id: str, number: int) -> SubmissionView:
    """Return a submission by its number. Raises NotFound."""
    return find_submission(session, campaign_id, number)


def list_submissions(
    session: Session, campaign_id: str, *, researcher_id: str | None = None, after: int = 0, limit: int = 100
) -> list[SubmissionView]:
    """List submissions by number, of one researcher or of all.

    ``after`` is the last number already seen.
    """
    session.flush()
    query = select_submission_views(campaign_id).where(Submission.number > after)
    if researcher_id is not None:
        query = query.where(Submission.researcher_id == researcher_id)
    return [submission_view_of_row(row) for row in session.execute(query.order_by(Submission.number).limit(limit))]


def count_submissions(session: Session, campaign_id: str, researcher_id: str | None = None) -> int:
    """Count the submissions of one researcher or of all."""
    session.flush()
    query = select(func.count()).select_from(Submission).where(Submission.campaign_id == campaign_id)
    if researcher_id is not None:
        query = query.where(Submission.researcher_id == researcher_id)
    return session.scalar(query) or 0


def invalidated_submissions(session: Session, campaign_id: str) -> list[SubmissionView]:
    """List the disqualified and refuted submissions, by number."""
    session.flush()
    query = select_submission_views(campaign_id).where(
        (Submission.disqualified != "") | (Submission.status == "refuted")
    )
    return [submission_view_of_row(row) for row in session.execute(query.order_by(Submission.number))]


def _refuse_known(session: Session, campaign_id: str, digest: str) -> None:
    # Trying failed code again until every run happens to succeed would select favourable splits, and trying
    # disqualified code again would select a lenient reading.
    known = (
        select(Submission)
        .where(Submission.campaign_id == campaign_id, Submission.digest == digest)
        .where((Submission.state == "rejected") | (Submission.disqualified != ""))
    )
    earlier = session.scalars(known.order_by(Submission.number).limit(1)).one_or_none()
    if earlier is None:
        return
    same = f"these exact files are s{earlier.number}"
    if earlier.disqualified:
        raise Conflict(
            f"{same}, which is disqualified: {earlier.disqualified}", "Change it, or ask a person for a review"
        )
    raise Conflict(f"{same}, which was rejected", "Fix it, then submit it again")
