"""How many submissions a researcher and a campaign may still hand in."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.budget.limits import Limits
from aar.errors import LimitBreach, LimitReached
from aar.store.models import Submission


def check_quota(session: Session, campaign_id: str, researcher_id: str, limits: Limits) -> None:
    """Hold the submission limits within the transaction that adds one.

    Every submission counts, rejected ones and repetitions of the same code too: each may cost a full set of runs.

    Raises:
        LimitReached: which limit, of the researcher or of the campaign, is used up.
    """
    of_campaign = Submission.campaign_id == campaign_id
    for scope, ceiling, belongs in (
        (researcher_id, limits.researcher.submissions, of_campaign & (Submission.researcher_id == researcher_id)),
        ("campaign", limits.submissions, of_campaign),
    ):
        if ceiling is None:
            continue
        used = session.scalar(select(func.count()).select_from(Submission).where(belongs)) or 0
        if used >= ceiling:
            raise LimitReached(
                LimitBreach(scope, "submissions", Decimal(ceiling), Decimal(used), Decimal(1)),
                "Raise limits.submissions in the spec, or build on what is measured already",
            )
