"""Forecasts when the budget will be spent at the team's recent rate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.budget.charges import LOST, SETTLED
from aar.budget.limits import Limits
from aar.budget.totals import read_totals
from aar.campaign.run_timer import read_seconds_run
from aar.store.column_types import now
from aar.store.models import LedgerEntry

_WINDOW_HOURS = 1.0
_LEAST_HOURS = 1 / 60
"""Before a minute of running there is no useful rate."""


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
    hours = read_seconds_run(session, campaign_id) / 3600
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
