"""API of campaigns: specs, state, costs, their list, and the comparison of two."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator
from sqlalchemy.orm import Session

from aar.budget.limits import Limits
from aar.budget.totals import read_totals
from aar.campaign.controller_lock import ControllerState
from aar.campaign.costs import forecast_budget
from aar.campaign.views import CampaignView, list_campaigns, list_researchers
from aar.readmodels.alerts import list_usage_doubts
from aar.readmodels.chart_data import diversity_table, score_table
from aar.readmodels.formatting import PUBLIC_USD_PER_AGENT_HOUR, is_offline, model_label
from aar.readmodels.leaderboard import find_metric
from aar.report.comparison import ComparedCampaign, read_compared_campaign, spec_rows
from aar.scoring.results.leaderboard import read_leader
from aar.scoring.visibility import Audience, submission_seen_by
from aar.web.api.charts import ChartOut
from aar.web.api.submissions import SubmissionOut
from aar.web.app_state import AppStateDep
from aar.web.authentication import AudienceDep
from aar.web.request_params import After, CampaignId, Limit, Page, ViewOut, find_campaign

router = APIRouter()
Named = Annotated[str, Query(max_length=64, description="A campaign's id, its beginning, or `latest`")]

_MOST_SKIPPED = 10**9
_UNSHOWN = ("seed", "database")
"""Withheld: the secret of seeded campaigns is derived from the seed, a database's address may contain a password."""


class CampaignOut(ViewOut):
    """A campaign."""

    id: str
    name: str
    problem: str
    state: str
    cause: str
    sandbox: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    controller: ControllerState
    """The controller: alive, lost while the campaign ran or started (``aar resume`` continues it), or not needed."""
    heartbeat_at: datetime | None
    """The last heartbeat of its newest controller."""


class MetricOut(ViewOut):
    """The metric of a campaign."""

    name: str
    higher_is_better: bool
    ceiling: float
    human_baseline: float | None
    human_baseline_source: str
    published: float | None
    """The best published score for such a problem, on other models."""
    published_source: str


class CampaignDetail(CampaignOut):
    """A campaign with its metric and its progress."""

    spec: dict[str, Any]
    metric: MetricOut | None
    """None if the problem is not installed here."""
    best: SubmissionOut | None
    offline: bool
    """True if any researcher is the offline search baseline, which is not an LLM."""
    models: list[str]


@router.get("/campaigns", tags=["campaigns"])
def campaigns(shared: AppStateDep, after: After = 0, limit: Limit = 50) -> Page[CampaignOut]:
    """Lists all campaigns, newest first; the cursor counts those already listed."""
    skip = min(after, _MOST_SKIPPED)
    views = shared.read(lambda session: list_campaigns(session, limit=limit + 1, skip=skip))
    more = skip + limit if len(views) > limit else None
    return Page(items=[CampaignOut.model_validate(view) for view in views[:limit]], next_cursor=more)


@router.get("/campaigns/{campaign_id}", tags=["campaigns"])
def campaign(shared: AppStateDep, audience: AudienceDep, campaign_id: CampaignId) -> CampaignDetail:
    """Returns one campaign."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        metric = find_metric(view.problem)
        leader = read_leader(session, view.id, higher_is_better=metric is None or metric.higher_is_better)
        models = list(dict.fromkeys(each.model for each in list_researchers(session, view.id)))
    return CampaignDetail(
        **CampaignOut.model_validate(view).model_dump(),
        spec=public_spec(view),
        metric=None if metric is None else MetricOut.model_validate(metric),
        best=None if leader is None else SubmissionOut.model_validate(submission_seen_by(leader, audience)),
        offline=any(is_offline(model) for model in models),
        models=[model_label(model) for model in models],
    )


def public_spec(view: CampaignView) -> dict[str, Any]:
    """Returns the spec without fields that must not leave the controller."""
    spec = {key: value for key, value in view.spec.items() if key not in _UNSHOWN}
    if isinstance(spec.get("researchers"), dict):
        spec["researchers"] = {key: value for key, value in spec["researchers"].items() if key != "base_url"}
    return spec


class TotalsOut(ViewOut):
    """Sums over a ledger; dollars are exact decimals, written as strings."""

    usd: Decimal
    """All that was billed: model calls, compute, and the worst cases of calls that a crash cut off."""
    reserved_usd: Decimal
    """Reserved for calls that run now."""
    model_usd: Decimal
    compute_usd: Decimal
    lost_usd: Decimal
    tokens: Annotated[dict[str, int], BeforeValidator(asdict)]
    total_tokens: int
    calls: int
    agent_seconds: float
    core_seconds: float
    usd_per_agent_hour: Decimal | None
    """None before any work."""


class ForecastOut(ViewOut):
    """The time until the budget is spent, at the pace of the last hour."""

    usd_per_hour: Decimal | None
    """None before the first minute."""
    tokens_per_hour: Decimal | None
    hours_run: float
    limit: str
    """The limit that will be reached first; empty if none is in sight."""
    hours_left: float | None


class UsageDoubtOut(ViewOut):
    """A doubt about reported usage, with the researchers whose calls it concerns."""

    cause: str
    researchers: list[str]


class CostsOut(BaseModel):
    """The costs of a campaign."""

    campaign: TotalsOut
    researchers: dict[str, TotalsOut]
    public_usd_per_agent_hour: Decimal
    """Cost in the public study, for comparison."""
    forecast: ForecastOut
    usage_doubts: list[UsageDoubtOut]
    """Calls that are charged at their worst case, because the service's figures cannot be right."""


@router.get("/campaigns/{campaign_id}/costs", tags=["costs"])
def costs(shared: AppStateDep, campaign_id: CampaignId) -> CostsOut:
    """Returns dollars, tokens and seconds, of the campaign and of each researcher."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        totals = read_totals(session, view.id)
        doubts = list_usage_doubts(session, view.id)
        forecast = forecast_budget(session, view.id, Limits.model_validate(view.spec.get("limits", {})))
    return CostsOut(
        campaign=TotalsOut.model_validate(totals.campaign),
        researchers={name: TotalsOut.model_validate(each) for name, each in totals.researchers.items()},
        public_usd_per_agent_hour=PUBLIC_USD_PER_AGENT_HOUR,
        forecast=ForecastOut.model_validate(forecast),
        usage_doubts=[UsageDoubtOut.model_validate(each) for each in doubts],
    )


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


class SpecRowOut(ViewOut):
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


@router.get("/compare", tags=["campaigns"])
def compare(shared: AppStateDep, audience: AudienceDep, left: Named, right: Named) -> CompareOut:
    """Compares two campaigns: specs, scores over time and dollars, boards, costs, diversity."""
    with shared.db.reading() as session:
        one, other = find_campaign(session, left), find_campaign(session, right)
        return CompareOut(
            left=_side(one, load_compared_campaign(session, one, audience)),
            right=_side(other, load_compared_campaign(session, other, audience)),
            spec=[SpecRowOut.model_validate(row) for row in spec_rows(public_spec(one), public_spec(other))],
        )


def load_compared_campaign(session: Session, view: CampaignView, audience: Audience) -> ComparedCampaign:
    """Reads one campaign's progress, as an audience may see it."""
    return read_compared_campaign(session, view.id, find_metric(view.problem), audience)


def _side(view: CampaignView, side: ComparedCampaign) -> SideOut:
    return SideOut(
        id=view.id,
        name=view.name,
        problem=view.problem,
        state=view.state,
        controller=view.controller,
        submissions=side.submissions,
        minutes=round(side.progress.minutes, 2),
        usd=side.totals.usd,
        usd_per_agent_hour=side.totals.usd_per_agent_hour,
        board=[SubmissionOut.model_validate(row.submission) for row in side.board.rows[:10]],
        score=ChartOut.model_validate(score_table(side.progress)),
        diversity=ChartOut.model_validate(diversity_table(side.progress)),
    )
