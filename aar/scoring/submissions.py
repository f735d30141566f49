"""Accepts submissions and reads them back: code and claim are frozen before any score exists.

Nothing in this file writes a score; only ``score_writer`` does. Every researcher may submit the same files again: their
runs are then pooled with the earlier ones into one estimate, so running them again for luck gains nothing but a
narrower interval. Only equal digests are the same code: two methods that are equal in all else may still differ in what
they do. Views are rounded, and without the score of a disqualified submission; ``visibility`` decides which audience
sees them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import Row, Select, Table, func, select
from sqlalchemy.orm import Session

from aar.budget.limits import Limits, check_submission_quota
from aar.errors import Conflict, NotFound
from aar.events import SubmissionReceived
from aar.forum.authors import EXTERNAL_MODEL
from aar.scoring.method_manifest import MethodManifest, read_manifest
from aar.scoring.submission_status import log_status_change
from aar.snapshots.lineage import record_snapshot, resolve_digest
from aar.snapshots.store import SavedSnapshot, SnapshotStore
from aar.store.event_log import append_event, lock_campaign
from aar.store.models import Researcher, StatusChange, Submission

SHOWN_DECIMALS = 2
"""Decimals of the scores that leave the scorer."""

DISCLOSED, LOW_DISCLOSED, WITHHELD, WITHHELD_LATER = "", "low", "kept", "spent"
"""Values of ``Submission.telling``: shown; shown although low; withheld from researchers; withheld later, which leaves
the allowance as used as it was."""
UNDISCLOSED = (WITHHELD, WITHHELD_LATER)

FINAL_STATES: Final = frozenset({"measured", "rejected", "held"})
_SCORES = ("mean", "standard_error", "low", "high")
_SUBMISSIONS, _RESEARCHERS = cast(Table, Submission.__table__), cast(Table, Researcher.__table__)
_CHANGES = StatusChange.__table__.c
_reason = (
    select(_CHANGES.cause)
    .where(_CHANGES.submission_id == _SUBMISSIONS.c.id, _CHANGES.new == "disqualified")
    .order_by(_CHANGES.id.desc())
    .limit(1)
    .correlate(_SUBMISSIONS)
    .scalar_subquery()
    .label("reason")
)


@dataclass(frozen=True, slots=True)
class SubmissionView:
    """A submission; the score is rounded.

    Args:
        number: shown as ``s<number>``.
        parent: digest of the snapshot that it builds on.
        state: queued, scoring, measured, rejected; held: disqualified before it was run.
        status: how far the score can be trusted: claimed, measured, confirmed, refuted.
        verdict: one text for its author once scoring is over, starting ``s<number> measured:``,
            ``s<number> rejected:`` or ``s<number> disqualified:``; empty before.
        mean, standard_error: the measured score and its standard error; None without one, and while disqualified.
        low, high: ends of the 90 % interval.
        seeds: how many seeds were pooled, each run on every domain climbed on.
        hypothesis: the score that its author expected and why, frozen with the code.
        identity: the same for all submissions of one place on the board: the digest; in campaigns of earlier versions a
            digest of the syntax trees.
        disqualified: the rule that takes it off the board; empty while it is on it.
        charged_runs: scoring runs that were counted against the quotas.
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
    hypothesis: str = ""
    identity: str = ""
    disqualified: str = ""
    charged_runs: int = 0
    told: bool = True
    """True if researchers may read the score as a number; see ``aar.scoring.visibility``."""
    outside: bool = False
    """True if its author is an external researcher."""

    @property
    def finished(self) -> bool:
        """Return True if its scoring is over."""
        return self.state in FINAL_STATES


_COPIED = [
    each.name
    for each in fields(SubmissionView)
    if each.name not in {*_SCORES, "families", "verdict", "told", "outside"}
]
# Of tables: through the mapper, a page that lists a night's submissions would spend most of its time on this
_VIEWS = select(
    *(each for each in _SUBMISSIONS.c if each.key != "by_domain"),
    _RESEARCHERS.c.name.label("researcher_name"),
    _RESEARCHERS.c.model.label("researcher_model"),
    _reason,
).select_from(_SUBMISSIONS.join(_RESEARCHERS, _RESEARCHERS.c.id == _SUBMISSIONS.c.researcher_id))


def select_submission_views(campaign_id: str) -> Select[Any]:
    """Build the query for the rows that ``submission_view_of_row`` takes.

    Flush before it, and add conditions, order and limit.
    """
    return _VIEWS.where(_SUBMISSIONS.c.campaign_id == campaign_id)


def get_submission(session: Session, campaign_id: str, number: int) -> SubmissionView:
    """Return a submission by its number. Raises NotFound."""
    session.flush()
    # SQLite and PostgreSQL refuse whole numbers over 64 bits with an error of their own
    query = select_submission_views(campaign_id).where(_SUBMISSIONS.c.number == number)
    found = session.execute(query).one_or_none() if 0 < number < 2**31 else None
    if found is None:
        raise NotFound(f"no submission s{number} in campaign {campaign_id}", "See `aar submissions`")
    return submission_view_of_row(found)


def submission_view_of_row(row: Row[Any]) -> SubmissionView:
    """Build the view of a row of ``select_submission_views``."""
    off, verdict = bool(row.disqualified), row.verdict
    if off:
        verdict = (
            f"s{row.number} disqualified: {row.reason or row.disqualified}\n"
            "It is off the board and its score is not shown. "
            "A person can review and reinstate it: ask on the forum."
        )
    shown: dict[str, Any] = {name: getattr(row, name) for name in _COPIED}
    for name in _SCORES:
        value = getattr(row, name)
        shown[name] = None if off or value is None else round(value, SHOWN_DECIMALS) + 0.0
    return SubmissionView(
        **shown,
        families=tuple(row.families),
        verdict=verdict,
        told=row.telling not in UNDISCLOSED,
        outside=row.researcher_model == EXTERNAL_MODEL,
    )


def freeze_method(
    snapshots: SnapshotStore, directory: Path, parent: str | None = None
) -> tuple[SavedSnapshot, MethodManifest]:
    """Store a method's directory as a snapshot and read its manifest, for ``submit``. Blocks.

    Args:
        parent: replaces the manifest's, where given.

    Raises:
        UsageError: the manifest is invalid; a text for the method's author.
        TransferRefused: a file that a snapshot cannot hold.
    """
    manifest = read_manifest(directory)
    if parent is not None:
        manifest = manifest.model_copy(update={"parent": parent})
    return snapshots.save(directory), manifest


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
        saved, manifest: the result of ``freeze_method``.
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
    return get_submission(session, campaign_id, submission.number)


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
