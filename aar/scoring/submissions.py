"""Submissions: code and claim are frozen here, before any score exists.

Nothing in this file writes a score; only the scorer's records do. The same code may be handed in again, by anybody:
its runs are then pooled with the earlier ones into one estimate, so running it again for luck gains nothing but a
narrower interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from aar.budget.limits import Limits
from aar.budget.submissions import check_submission
from aar.errors import Conflict, NotFound
from aar.events import SubmissionReceived
from aar.scoring.manifest import MethodManifest
from aar.snapshots.store import Saved, record, resolve
from aar.store.event_log import append, lock_campaign
from aar.store.models import Researcher, Submission

SHOWN_DECIMALS = 2
"""Scores leave the scorer rounded to so many decimals."""

FINAL_STATES: Final = frozenset({"measured", "rejected"})


@dataclass(frozen=True, slots=True)
class SubmissionView:
    """A submission as anybody may see it; the score is rounded.

    Args:
        number: shown as ``s<number>``.
        parent: digest of the snapshot that it builds on.
        state: queued, scoring, measured, rejected.
        status: how far the score can be trusted: claimed, measured, confirmed, refuted.
        verdict: one text for its author once it is measured or rejected, starting ``s<number> measured:`` or
            ``s<number> rejected:``; empty before.
        mean, standard_error: the score and its standard error; None without one.
        low, high: ends of the 90 % interval.
        seeds: how many seeds were pooled, each run on every domain climbed on.
    """

    id: int
    campaign_id: str
    number: int
    researcher_id: str
    researcher_name: str
    digest: str
    parent: str | None
    title: str
    claim: str
    families: tuple[str, ...]
    state: str
    status: str
    verdict: str
    mean: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    seeds: int
    created_at: datetime
    finished_at: datetime | None

    @property
    def finished(self) -> bool:
        """Whether its scoring is over."""
        return self.state in FINAL_STATES


def submit(
    session: Session,
    *,
    campaign_id: str,
    researcher_id: str,
    saved: Saved,
    manifest: MethodManifest,
    idempotency_key: str | None = None,
    limits: Limits | None = None,
) -> SubmissionView:
    """Freeze a method: its snapshot, its claim and its place in the queue, in the caller's transaction.

    Args:
        saved: the snapshot of the method's directory, already in the snapshot store.
        manifest: what ``read_manifest`` read from that same directory.
        idempotency_key: a second call with it returns the first one's submission and changes nothing.
        limits: submission quotas to hold within this transaction; None checks none.

    Raises:
        NotFound: no such campaign or researcher, or the manifest's parent names no snapshot.
        Conflict: this exact code was rejected before, or the idempotency key is another researcher's.
        LimitReached: a submission quota is used up.
    """
    lock_campaign(session, campaign_id)
    author = session.get(Researcher, researcher_id)
    if author is None or author.campaign_id != campaign_id:
        raise NotFound(f"no researcher {researcher_id} in campaign {campaign_id}", "See `aar status`")
    if idempotency_key is not None:
        earlier = session.execute(
            _views(campaign_id).where(Submission.idempotency_key == idempotency_key)
        ).one_or_none()
        if earlier is not None:
            if earlier.Submission.researcher_id != researcher_id:
                raise Conflict(f"idempotency key {idempotency_key} belongs to another researcher", "Use a fresh key")
            return view_of(*earlier)
    if limits is not None:
        check_submission(session, campaign_id, researcher_id, limits)
    _refuse_rejected(session, campaign_id, saved.digest)
    parent = None if manifest.parent is None else resolve(session, campaign_id, manifest.parent)
    record(session, campaign_id, researcher_id, saved, parent)
    last = session.scalar(select(func.max(Submission.number)).where(Submission.campaign_id == campaign_id))
    submission = Submission(
        campaign_id=campaign_id,
        number=(last or 0) + 1,
        researcher_id=researcher_id,
        digest=saved.digest,
        parent=parent,
        title=manifest.title,
        claim=manifest.claim,
        families=list(manifest.families),
        state="queued",
        idempotency_key=idempotency_key,
    )
    session.add(submission)
    session.flush()
    received = SubmissionReceived(
        submission_id=submission.id, number=submission.number, title=submission.title, digest=submission.digest
    )
    append(session, campaign_id, received, researcher_id)
    return view_of(submission, author.name)


def get_submission(session: Session, campaign_id: str, number: int) -> SubmissionView:
    """One submission by its number. Raises NotFound."""
    found = session.execute(_views(campaign_id).where(Submission.number == number)).one_or_none()
    if found is None:
        raise NotFound(f"no submission s{number} in campaign {campaign_id}", "See `aar submissions`")
    return view_of(*found)


def list_submissions(
    session: Session, campaign_id: str, *, researcher_id: str | None = None, after: int = 0, limit: int = 100
) -> list[SubmissionView]:
    """Submissions by number, of one researcher or of all; ``after`` is the last number already seen."""
    query = _views(campaign_id).where(Submission.number > after)
    if researcher_id is not None:
        query = query.where(Submission.researcher_id == researcher_id)
    return [view_of(*row) for row in session.execute(query.order_by(Submission.number).limit(limit))]


def _views(campaign_id: str) -> Select[Submission, str]:
    return (
        select(Submission, Researcher.name)
        .join(Researcher, Researcher.id == Submission.researcher_id)
        .where(Submission.campaign_id == campaign_id)
    )


def _refuse_rejected(session: Session, campaign_id: str, digest: str) -> None:
    # Trying failed code again until every run happens to succeed would select favourable splits.
    rejected = session.scalar(
        select(func.min(Submission.number)).where(
            Submission.campaign_id == campaign_id, Submission.digest == digest, Submission.state == "rejected"
        )
    )
    if rejected is not None:
        raise Conflict(f"this exact code is s{rejected}, which was rejected", "Mend it, then submit it again")


def view_of(submission: Submission, researcher_name: str) -> SubmissionView:
    """The view of a submission and its author's name."""
    return SubmissionView(
        id=submission.id,
        campaign_id=submission.campaign_id,
        number=submission.number,
        researcher_id=submission.researcher_id,
        researcher_name=researcher_name,
        digest=submission.digest,
        parent=submission.parent,
        title=submission.title,
        claim=submission.claim,
        families=tuple(submission.families),
        state=submission.state,
        status=submission.status,
        verdict=submission.verdict,
        mean=_shown(submission.mean),
        standard_error=_shown(submission.standard_error),
        low=_shown(submission.low),
        high=_shown(submission.high),
        seeds=submission.seeds,
        created_at=submission.created_at,
        finished_at=submission.finished_at,
    )


def _shown(value: float | None) -> float | None:
    return None if value is None else round(value, SHOWN_DECIMALS) + 0.0
