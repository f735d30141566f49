"""Checks that a campaign's problem has not changed, so that its scores stay comparable."""

from __future__ import annotations

from sqlalchemy.orm import Session

from aar.errors import Conflict
from aar.problems.protocol import Problem, version_of
from aar.store.models import Campaign


def check_problem_version(session: Session, campaign_id: str, problem: Problem) -> None:
    """Check that a campaign's submissions may be scored by the problem as installed.

    Raises:
        Conflict: the campaign was begun under another version of the problem.
    """
    recorded, installed = session.get_one(Campaign, campaign_id).problem_version, version_of(problem)
    if recorded != installed:
        raise Conflict(
            f"problem version of campaign {campaign_id} does not match: got version {recorded} of {problem.name} from "
            f"its record, expected {installed}, which is installed",
            "Install the aar release that began it to go on, or start a new campaign; reading, reports and stop work",
        )
