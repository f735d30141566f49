"""API that compares two campaigns."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlalchemy.orm import Session

from aar.campaign.control.control_requests import ControllerState
from aar.campaign.views import CampaignView
from aar.readmodels.chart_data import diversity_table, score_table
from aar.readmodels.problem_metric import find_metric
from aar.report.comparison import ComparedCampaign, read_compared_campaign, spec_rows
from aar.scoring.visibility import Audience
from aar.web.api.campaigns import public_spec
from aar.web.api.charts import ChartOut
from aar.web.api.submissions import SubmissionOut
from aar.web.app_state import AppStateDep
from aar.web.authentication import AudienceDep
from aar.web.path_params import find_campaign

router = APIRouter(prefix="/compare", tags=["campaigns"])
Named = Annotated[str, Query(max_length=64, description="A campaign's id, its beginning, or `latest`")]


class SideOut(BaseModel):
    """One of the compared campaigns."""

    id: str
    name: str
    problem: str
    state: str
    controller: ControllerState
    submissions: int
    minutes: float
    usd: Decimal
    usd_per_agent_hour: Decimal | None
    board: list[SubmissionOut]
    """The first ten."""
    score: ChartOut
    diversity: ChartOut


class SpecRowOut(BaseModel):
    """A field of both specs, as JSON; a dash for a missing one."""

    field: str
    left: str
    right: str
    differs: bool


class CompareOut(BaseModel):
    """Both campaigns, and their specs by field; fields that differ come first."""

    left: SideOut
    right: SideOut
    spec: list[SpecRowOut]


@router.get("")
def compare(shared: AppStateDep, audience: AudienceDep, left: Named, right: Named) -> CompareOut:
    """Compares two campaigns: specs, scores over time and dollars, boards, costs, diversity."""
    with shared.db.reading() as session:
        one, other = find_campaign(session, left), find_campaign(session, right)
        return CompareOut(
            left=_side(one, load_compared_campaign(session, one, audience)),
            right=_side(other, load_compared_campaign(session, other, audience)),
            spec=[
                SpecRowOut(field=row.field, left=row.left, right=row.right, differs=row.differs)
                for row in spec_rows(public_spec(one), public_spec(other))
            ],
        )


def load_compared_campaign(session: Session, view: CampaignView, audience: Audience) -> ComparedCampaign:
    """Reads one campaign's progress, as an audience may see it."""
    return read_compared_campaign(session, view.id, find_metric(view.problem), audience)


def _side(view: CampaignView, found: ComparedCampaign) -> SideOut:
    return SideOut(
        id=view.id,
        name=view.name,
        problem=view.problem,
        state=view.state,
        controller=view.controller,
        submissions=found.submissions,
        minutes=round(found.progress.minutes, 2),
        usd=found.totals.usd,
        usd_per_agent_hour=found.totals.usd_per_agent_hour,
        board=[SubmissionOut.of(row.submission) for row in found.board.rows[:10]],
        score=ChartOut.of(score_table(found.progress)),
        diversity=ChartOut.of(diversity_table(found.progress)),
    )
