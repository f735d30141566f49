"""Checks the limits on submissions and on their scoring runs."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.budget.limit_checks import CAMPAIGN, remedy_for
from aar.budget.limits import Limits
from aar.errors import LimitBreach, LimitReached
from aar.store.models import Researcher, Submission


def check_submission_quota(
    session: Session, campaign_id: str, researcher_id: str, limits: Limits, runs: int = 0
) -> None:
    """Refuse a submission that would pass a limit of the campaign or researcher.

    Args:
        runs: scoring runs that the submission would take.

    Raises:
        LimitReached: the first limit that it would pass.
    """
    whole, own = limits, limits.researcher
    handed_in = select(func.count()).select_from(Submission).where(Submission.campaign_id == campaign_id)
    for scope, ceiling, query in (
        (CAMPAIGN, whole.submissions, handed_in),
        (researcher_id, own.submissions, handed_in.where(Submission.researcher_id == researcher_id)),
    ):
        if ceiling is not None:
            _hold(scope, "submissions", Decimal(ceiling), Decimal(session.scalar(query) or 0), Decimal(1))
    charged = select(func.coalesce(func.sum(Submission.charged_runs), 0)).where(Submission.campaign_id == campaign_id)
    if whole.scoring_runs is not None:
        _hold(
            CAMPAIGN, "scoring_runs", Decimal(whole.scoring_runs), Decimal(session.scalar(charged) or 0), Decimal(runs)
        )
    if own.scoring_runs_per_hour is not None:
        taken = Decimal(session.scalar(charged.where(Submission.researcher_id == researcher_id)) or 0)
        worked = session.scalar(select(Researcher.active_seconds).where(Researcher.id == researcher_id)) or 0.0
        # Under one hour counts as one: a rate over the first minutes would refuse the first submission.
        hours = max(Decimal(str(worked)) / 3600, Decimal(1))
        rate = Decimal(str(own.scoring_runs_per_hour))
        _hold(researcher_id, "scoring_runs_per_hour", rate, round(taken / hours, 2), round(runs / hours, 2))


def _hold(scope: str, limit: str, ceiling: Decimal, taken: Decimal, asked: Decimal) -> None:
    if taken + asked > ceiling:
        raise LimitReached(LimitBreach(scope, limit, ceiling, taken, asked), remedy_for(limit, scope))
