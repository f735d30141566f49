"""API of costs by researcher and kind."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal

from fastapi import APIRouter
from pydantic import BaseModel

from aar.budget.limits import Limits
from aar.budget.totals import Totals, read_totals
from aar.campaign.costs.forecast import forecast_budget
from aar.readmodels.formatting import PUBLIC_USD_PER_AGENT_HOUR
from aar.readmodels.usage_doubts import list_usage_doubts
from aar.web.app_state import AppStateDep
from aar.web.path_params import CampaignId, find_campaign

router = APIRouter(prefix="/campaigns/{campaign_id}/costs", tags=["costs"])


class TotalsOut(BaseModel):
    """Sums over a ledger; dollars are exact decimals, written as strings."""

    usd: Decimal
    """All that was billed: model calls, compute, and the worst cases of calls that a crash cut off."""
    reserved_usd: Decimal
    """Reserved for calls that run now."""
    model_usd: Decimal
    compute_usd: Decimal
    lost_usd: Decimal
    tokens: dict[str, int]
    total_tokens: int
    calls: int
    agent_seconds: float
    core_seconds: float
    usd_per_agent_hour: Decimal | None
    """None before any work."""


class ForecastOut(BaseModel):
    """The time until the budget is spent, at the pace of the last hour."""

    usd_per_hour: Decimal | None
    """None before the first minute."""
    tokens_per_hour: Decimal | None
    hours_run: float
    limit: str
    """The limit that will be reached first; empty if none is in sight."""
    hours_left: float | None


class UsageDoubtOut(BaseModel):
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


@router.get("")
def costs(shared: AppStateDep, campaign_id: CampaignId) -> CostsOut:
    """Returns dollars, tokens and seconds, of the campaign and of each researcher."""
    with shared.db.reading() as session:
        view = find_campaign(session, campaign_id)
        found = read_totals(session, view.id)
        doubts = list_usage_doubts(session, view.id)
        ahead = forecast_budget(session, view.id, Limits.model_validate(view.spec.get("limits", {})))
    return CostsOut(
        campaign=_shown(found.campaign),
        researchers={name: _shown(each) for name, each in found.researchers.items()},
        public_usd_per_agent_hour=PUBLIC_USD_PER_AGENT_HOUR,
        forecast=ForecastOut(**asdict(ahead)),
        usage_doubts=[UsageDoubtOut(cause=each.cause, researchers=list(each.researchers)) for each in doubts],
    )


def _shown(each: Totals) -> TotalsOut:
    same = {name: getattr(each, name) for name in TotalsOut.model_fields if name != "tokens"}
    return TotalsOut(**same, tokens=asdict(each.tokens))
