"""Estimates a campaign's cost before it starts, and forecasts when its budget will be spent.

The expectation is a rule of thumb, not a promise: ``TURNS_PER_HOUR`` turns an agent-hour of ``TYPICAL_TURN`` each,
priced as the ledger prices them, plus the sandboxes' cores. A researcher that waits for long jobs takes less; the
public study paid $22 an agent-hour, GPUs included. A forecast takes the team's recent rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.budget.ledger_entries import LOST, SETTLED
from aar.budget.limits import Limits
from aar.budget.totals import read_totals
from aar.campaign.running_time import read_running_time
from aar.campaign.spec import CampaignSpec
from aar.llm.price_book import PriceBook
from aar.llm.usage import Usage
from aar.store.column_types import now
from aar.store.models import LedgerEntry

TURNS_PER_HOUR = 120
TYPICAL_TURN = Usage(input_tokens=500, cache_write_5m_tokens=4_000, cache_read_tokens=60_000, output_tokens=2_000)
"""A turn in a conversation at two thirds of its usual size, with its earlier turns read from the cache."""
_CENT = Decimal("0.01")
_WINDOW_HOURS = 1.0
_LEAST_HOURS = 1 / 60
"""Before a minute of running there is no useful rate."""


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


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast of spending.

    Args:
        usd_per_hour, tokens_per_hour: spent per hour of running, over the last hour of it; None before the first
            minute.
        hours_run: so far, pauses not counted.
        limit: the limit of the whole campaign that will be reached first; empty if none.
        hours_left: of running, until then; None if none.
    """

    usd_per_hour: Decimal | None
    tokens_per_hour: Decimal | None
    hours_run: float
    limit: str
    hours_left: float | None


def forecast_budget(session: Session, campaign_id: str, limits: Limits) -> Forecast:
    """Forecast spending from the ledger and the log."""
    hours = read_running_time(session, campaign_id).seconds / 3600
    spent = read_totals(session, campaign_id).campaign
    ends: list[tuple[float, str]] = []
    if limits.hours is not None:
        ends.append((max(limits.hours - hours, 0.0), "hours"))
    if hours < _LEAST_HOURS:
        return Forecast(None, None, hours, *_first(ends))
    usd_rate, token_rate = _rates(session, campaign_id, hours)
    for name, ceiling, used, rate in (
        ("usd", limits.usd, spent.usd + spent.reserved_usd, usd_rate),
        ("tokens", limits.tokens, Decimal(spent.total_tokens), token_rate),
    ):
        if ceiling is not None and rate > 0:
            ends.append((float(max(Decimal(ceiling) - used, Decimal(0)) / rate), name))
    return Forecast(usd_rate, token_rate, hours, *_first(ends))


def _first(ends: list[tuple[float, str]]) -> tuple[str, float | None]:
    if not ends:
        return "", None
    hours, limit = min(ends)
    return limit, hours


def _rates(session: Session, campaign_id: str, hours: float) -> tuple[Decimal, Decimal]:
    entry = LedgerEntry
    tokens = (
        entry.input_tokens
        + entry.cache_write_5m_tokens
        + entry.cache_write_1h_tokens
        + entry.cache_read_tokens
        + entry.output_tokens
    )
    of_campaign = entry.campaign_id == campaign_id
    newest = select(func.max(entry.settled_at)).where(of_campaign)  # by state, the index has it at hand
    ends = [session.scalar(newest.where(entry.state == state)) for state in (SETTLED, LOST)]
    last = max((at for at in ends if at is not None), default=None)
    if last is None:
        return Decimal(0), Decimal(0)
    window = min(hours, _WINDOW_HOURS)
    # In a stopped campaign the window ends where its spending ended.
    until = last if now() - last > timedelta(hours=_WINDOW_HOURS / 4) else now()
    query = select(func.coalesce(func.sum(entry.usd), 0), func.coalesce(func.sum(tokens), 0)).where(
        of_campaign, entry.state.in_((SETTLED, LOST)), entry.settled_at > until - timedelta(hours=window)
    )
    usd, used = session.execute(query).one()
    span = Decimal(str(window))
    return Decimal(usd) / span, Decimal(used) / span
