"""Limits on the number of methods handed in."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.budget.checks import CAMPAIGN, remedy_for
from aar.budget.limits import Limits
from aar.errors import LimitBreach, LimitReached
from aar.store.models import Submission


def check_submission(session: Session, campaign_id: str, researcher_id: str, limits: Limits) -> None:
    """Refuse when one more submission would pass the campaign's or the researcher's limit. Raises LimitReached."""
    handed_in = select(func.count()).select_from(Submission).where(Submission.campaign_id == campaign_id)
    for scope, ceiling, query in (
        (CAMPAIGN, limits.submissions, handed_in),
        (researcher_id, limits.researcher.submissions, handed_in.where(Submission.researcher_id == researcher_id)),
    ):
        if ceiling is None:
            continue
        count = session.scalar(query) or 0
        if count + 1 > ceiling:
            raise LimitReached(
                LimitBreach(scope, "submissions", Decimal(ceiling), Decimal(count), Decimal(1)),
                remedy_for("submissions", scope),
            )
