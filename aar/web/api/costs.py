"""What was spent, by researcher and kind."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal

from fastapi import APIRouter
from pydantic import BaseModel

from aar.budget.totals import Totals, totals
from aar.report.labels import PUBLIC_USD_PER_AGENT_HOUR
from aar.web.lookup import CampaignId, campaign_of
from aar.web.state import SharedDep

router = APIRouter(prefix="/campaigns/{campaign_id}/costs", tags=["costs"])


class TotalsOut(BaseModel):
    """Sums over a ledger; dollars are exact decimals, written as strings."""

    usd: Decimal
    """All that was billed: model calls, compute, and the worst cases of what a crash cut off."""
    reserved_usd: Decimal
    """Set aside for what runs now."""
    model_usd: Decimal
    compute_usd: Decimal
    lost_usd: Decimal
    tokens: dict[str, int]
    total_tokens: int
    calls: int
    agent_seconds: float
    core_seconds: float
    usd_per_agent_hour: Decimal


class CostsOut(BaseModel):
    """A campaign's costs."""

    campaign: TotalsOut
    researchers: dict[str, TotalsOut]
    public_usd_per_agent_hour: Decimal
    """What the public study paid, for comparison."""


@router.get("")
def costs(shared: SharedDep, campaign_id: CampaignId) -> CostsOut:
    """Dollars, tokens and seconds, of the campaign and of each researcher."""
    with shared.db.reading() as session:
        found = totals(session, campaign_of(session, campaign_id).id)
    return CostsOut(
        campaign=_shown(found.campaign),
        researchers={name: _shown(each) for name, each in found.researchers.items()},
        public_usd_per_agent_hour=PUBLIC_USD_PER_AGENT_HOUR,
    )


def _shown(each: Totals) -> TotalsOut:
    same = {name: getattr(each, name) for name in TotalsOut.model_fields if name != "tokens"}
    return TotalsOut(**same, tokens=asdict(each.tokens))
