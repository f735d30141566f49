"""Views of submissions: rounded, and without the score of a disqualified one.

``visibility`` decides which audience sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from sqlalchemy import Row, Select, Table, select
from sqlalchemy.orm import Session

from aar.errors import NotFound
from aar.forum.views import EXTERNAL_MODEL
from aar.scoring.submissions.score_disclosure import UNDISCLOSED
from aar.store.models import Researcher, StatusChange, Submission

SHOWN_DECIMALS = 2
"""Decimals of the scores that leave the scorer."""

FINAL_STATES: Final = frozenset({"measured", "rejected", "held"})


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


def find_submission(session: Session, campaign_id: str, number: int) -> SubmissionView:
    """Find a submission by its number. Raises NotFound."""
    session.flush()
    # SQLite and PostgreSQL refuse whole numbers over 64 bits with an error of their own
    query = select_submission_views(campaign_id).where(_SUBMISSIONS.c.number == number)
    found = session.execute(query).one_or_none() if 0 < number < 2**31 else None
    if found is None:
        raise NotFound(f"no submission s{number} in campaign {campaign_id}", "See `aar submissions`")
    return submission_view_of_row(found)


def submission_view_of_row(row: Row[Any]) -> SubmissionView:
    """Build the view of a row of ``select_submission_views``."""
    return submission_view(row, row.researcher_name, row.researcher_model, row.reason)


def submission_view(
    submission: Submission | Row[Any], author: str, model: str, reason: str | None = None
) -> SubmissionView:
    """Build the view of a submission; ``reason`` is that of its disqualification.

    It holds its author's name and model.
    """
    off = bool(submission.disqualified)

    def shown(value: float | None) -> float | None:
        return None if off or value is None else round(value, SHOWN_DECIMALS) + 0.0

    verdict = submission.verdict
    if off:
        verdict = (
            f"s{submission.number} disqualified: {reason or submission.disqualified}\n"
            "It is off the board and its score is not shown. "
            "A person can review and reinstate it: ask on the forum."
        )
    return SubmissionView(
        id=submission.id,
        campaign_id=submission.campaign_id,
        number=submission.number,
        researcher_id=submission.researcher_id,
        researcher_name=author,
        digest=submission.digest,
        parent=submission.parent,
        title=submission.title,
        claim=submission.claim,
        families=tuple(submission.families),
        state=submission.state,
        status=submission.status,
        verdict=verdict,
        mean=shown(submission.mean),
        standard_error=shown(submission.standard_error),
        low=shown(submission.low),
        high=shown(submission.high),
        seeds=submission.seeds,
        created_at=submission.created_at,
        finished_at=submission.finished_at,
        hypothesis=submission.hypothesis,
        identity=submission.identity,
        disqualified=submission.disqualified,
        charged_runs=submission.charged_runs,
        told=submission.telling not in UNDISCLOSED,
        outside=model == EXTERNAL_MODEL,
    )
