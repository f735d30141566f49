"""Estimates a campaign's cost before it starts: the limits' maximum and the usual cost.

The expectation is a rule of thumb, not a promise: ``TURNS_PER_HOUR`` turns an agent-hour of ``TYPICAL_TURN`` each,
priced as the ledger prices them, plus the sandboxes' cores. A researcher that waits for long jobs takes less; the
public study paid $22 an agent-hour, GPUs included.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from aar.campaign.spec import CampaignSpec
from aar.llm.pricing.price_book import PriceBook
from aar.llm.pricing.usage import Usage

TURNS_PER_HOUR = 120
TYPICAL_TURN = Usage(input_tokens=500, cache_write_5m_tokens=4_000, cache_read_tokens=60_000, output_tokens=2_000)
"""A turn in a conversation at two thirds of its usual size, with its earlier turns read from the cache."""
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """A cost estimate in dollars, rounded to the cent.

    Args:
        most: that the limits allow; None without a limit in dollars.
        models: expected for model calls; None without a limit in hours, because the running time is then unknown.
        compute: expected for the sandboxes' cores, likewise.
        per_agent_hour: expected for models and compute together.
        agent_hours: researchers times hours; None without a limit in hours.
    """

    most: Decimal | None
    models: Decimal | None
    compute: Decimal | None
    per_agent_hour: Decimal
    agent_hours: float | None

    @property
    def expected(self) -> Decimal | None:
        """Models and compute together, at most the dollar limit; None if unknown."""
        if self.models is None or self.compute is None:
            return None
        together = self.models + self.compute
        return together if self.most is None else min(together, self.most)


def estimate_cost(spec: CampaignSpec, models: tuple[str, ...], prices: PriceBook) -> CostEstimate:
    """Estimate the cost of a campaign.

    Args:
        models: of each researcher.
        prices: of all of them. Raises SpecError for a model without a price.
    """
    limits, hours = spec.limits, spec.limits.hours
    per_hour = [TURNS_PER_HOUR * prices.cost(model, TYPICAL_TURN) for model in models]
    cores = limits.usd_per_core_hour * Decimal(str(spec.sandbox.cpus))
    model_rate, team = sum(per_hour, Decimal(0)), len(models)
    rate = model_rate / team + cores
    if limits.usd_per_agent_hour is not None:
        rate = min(rate, limits.usd_per_agent_hour)
    most = limits.usd
    if limits.researcher.usd is not None:
        each = limits.researcher.usd * team
        most = each if most is None else min(most, each)
    if hours is None:
        return CostEstimate(most, None, None, rate.quantize(_CENT), None)
    span = Decimal(str(hours))
    return CostEstimate(
        most,
        (model_rate * span).quantize(_CENT),
        (cores * team * span).quantize(_CENT),
        rate.quantize(_CENT),
        team * hours,
    )
