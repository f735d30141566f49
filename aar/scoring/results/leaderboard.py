"""The leaderboard: ranks measured submissions, best first.

Only ``score_writer`` writes the scores that it shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import Row, Select, and_, func, select
from sqlalchemy.orm import Session

from aar.scoring.audits.audit_findings import finding_labels, latest_findings
from aar.scoring.phases import CONFIRM
from aar.scoring.results import ranking_statistics
from aar.scoring.submissions import (
    SHOWN_DECIMALS,
    UNDISCLOSED,
    SubmissionView,
    select_submission_views,
    submission_view_of_row,
)
from aar.store.models import StageEstimate, Submission


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """One row of the leaderboard.

    Args:
        rank: from 1.
        band: rows of one band cannot be told apart by their scores; from 1, the best.
        score: the score that it ranks by, rounded: the mean of its confirmation, or as measured before there is one.
        labels: labels from audits that people must know, such as ``teacher-independent``.
    """

    rank: int
    submission: SubmissionView
    band: int = 1
    score: float | None = None
    labels: tuple[str, ...] = ()

    @property
    def provisional(self) -> bool:
        """Return True if it leads without a confirmation."""
        return self.rank == 1 and self.submission.status != "confirmed"


def read_leaderboard(
    session: Session,
    campaign_id: str,
    *,
    limit: int | None = None,
    higher_is_better: bool = True,
    disclosed_only: bool = False,
) -> list[LeaderboardRow]:
    """List measured submissions that are neither refuted nor disqualified, best first.

    Code that was submitted several times appears once, under its first number and with all its seeds pooled. A row
    moves to another band only by more than the noise (Blum & Hardt 2015; ``ranking_statistics.assign_bands``). Within a
    band confirmed rows come first, then those that are expected to score best when they are measured again
    (``ranking_statistics.shrink_scores``): so an uncertain score that is high by luck does not come first. Of those
    that are shown equal the earlier comes first. First place is reserved: the first confirmed row of this order leads,
    at any measured score of the others.

    Args:
        limit: number of rows; None for all.
        higher_is_better: the problem's ``metric.higher_is_better``.
        disclosed_only: leave withheld scores out, as if there were none: a place between two disclosed scores would
            reveal a withheld one.
    """
    rows = read_ranked_rows(session, campaign_id, higher_is_better=higher_is_better, disclosed_only=disclosed_only)
    first = next((row for row in rows if row.submission.status == "confirmed"), None)
    if first is not None:
        rows.remove(first)
        rows.insert(0, first)
    rows = [replace(row, rank=rank) for rank, row in enumerate(rows[:limit], start=1)]
    findings = latest_findings(session, [row.submission.id for row in rows])
    return [replace(row, labels=finding_labels(findings[row.submission.id])) for row in rows]


def read_ranked_rows(
    session: Session, campaign_id: str, *, higher_is_better: bool = True, disclosed_only: bool = False
) -> list[LeaderboardRow]:
    """List the rows by bands alone, without labels and without the reserved first place."""
    sign = 1.0 if higher_is_better else -1.0
    session.flush()
    rows = session.execute(_query(campaign_id, disclosed_only)).all()
    scores = [(sign * mean, error) for mean, error in map(_ranking_score, rows)]
    expected = [mean for mean, _ in ranking_statistics.shrink_scores(scores)]
    bands = ranking_statistics.assign_bands(scores, expected)

    def place(at: int) -> tuple[int, bool, float, int]:
        # Rounded as it is shown: of scores that are shown equal the earlier comes first.
        return bands[at], rows[at].status != "confirmed", -round(expected[at], SHOWN_DECIMALS), rows[at].number

    return [
        LeaderboardRow(
            rank, submission_view_of_row(rows[at]), bands[at], round(sign * scores[at][0], SHOWN_DECIMALS) + 0.0
        )
        for rank, at in enumerate(sorted(range(len(rows)), key=place), start=1)
    ]


def read_leader(session: Session, campaign_id: str, *, higher_is_better: bool = True) -> SubmissionView | None:
    """Return the leading submission, or None while nothing is measured."""
    rows = read_leaderboard(session, campaign_id, limit=1, higher_is_better=higher_is_better)
    return rows[0].submission if rows else None


def first_submission_of_code(campaign_id: str) -> Any:
    """Select the first number of each measured code, under which the board shows it."""
    return (
        select(func.min(Submission.number))
        .where(Submission.campaign_id == campaign_id, Submission.state == "measured", Submission.disqualified == "")
        .group_by(Submission.identity)
    )


@lru_cache(maxsize=64)
def _query(campaign_id: str, disclosed_only: bool) -> Select[Any]:
    """Return the query of the leaderboard.

    It is cached: building it takes several times as long as running it, and every researcher reads the board.
    """
    query = (
        select_submission_views(campaign_id)
        .add_columns(StageEstimate.mean.label("confirmed"), StageEstimate.standard_error.label("confirmed_error"))
        .outerjoin(
            StageEstimate, and_(StageEstimate.submission_id == Submission.id, StageEstimate.stage == CONFIRM.key)
        )
        .where(Submission.number.in_(first_submission_of_code(campaign_id)), Submission.mean.is_not(None))
        .where(Submission.status != "refuted", Submission.disqualified == "")
    )
    return query.where(Submission.telling.not_in(UNDISCLOSED)) if disclosed_only else query


def _ranking_score(row: Row[Any]) -> tuple[float, float]:
    """Return the score that a row ranks by, and its standard error."""
    if row.status == "confirmed" and row.confirmed is not None:
        return row.confirmed, row.confirmed_error
    return row.mean, row.standard_error or 0.0
