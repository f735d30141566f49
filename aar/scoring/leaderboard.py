"""The leaderboard: measured submissions, best first. Only the scorer's records put anything on it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.scoring.submissions import SubmissionView, view_of
from aar.store.models import Researcher, Submission


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """A place on the board: ranks count from 1."""

    rank: int
    submission: SubmissionView


def leaderboard(
    session: Session, campaign_id: str, *, limit: int | None = None, higher_is_better: bool = True
) -> list[LeaderboardRow]:
    """Measured submissions by unrounded mean; of two equal ones the earlier leads.

    Code that was handed in several times stands once, under its first number and with all its seeds pooled.

    Args:
        limit: so many rows; None for all.
        higher_is_better: the problem's ``metric.higher_is_better``.
    """
    first_of_code = (
        select(func.min(Submission.number))
        .where(Submission.campaign_id == campaign_id, Submission.state == "measured")
        .group_by(Submission.digest)
    )
    order = Submission.mean.desc() if higher_is_better else Submission.mean.asc()
    query = (
        select(Submission, Researcher.name)
        .join(Researcher, Researcher.id == Submission.researcher_id)
        .where(Submission.campaign_id == campaign_id, Submission.number.in_(first_of_code))
        .where(Submission.status != "refuted")
        .order_by(order, Submission.number)
        .limit(limit)
    )
    return [LeaderboardRow(rank, view_of(*row)) for rank, row in enumerate(session.execute(query), start=1)]


def best(session: Session, campaign_id: str, *, higher_is_better: bool = True) -> SubmissionView | None:
    """The leading submission, or None while nothing is measured."""
    rows = leaderboard(session, campaign_id, limit=1, higher_is_better=higher_is_better)
    return rows[0].submission if rows else None
