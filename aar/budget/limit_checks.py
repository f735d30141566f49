"""Checks that a request fits every limit of the campaign and researcher."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from aar.budget.charges import Charge, ChargeSums
from aar.budget.limits import Limits
from aar.errors import LimitBreach, LimitReached

CAMPAIGN = "campaign"
_MS_PER_HOUR = Decimal(3_600_000)


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """The usage of one limit.

    Args:
        scope: "campaign" or a researcher's id.
        limit: its name as in the spec.
        ceiling: its value, in the limit's own unit.
        committed: spent and reserved so far, in the same unit.
    """

    scope: str
    limit: str
    ceiling: Decimal
    committed: Decimal

    @property
    def left(self) -> Decimal:
        """Return the remaining amount, never below zero."""
        return max(self.ceiling - self.committed, Decimal(0))


def limit_usages(limits: Limits, sums: ChargeSums, researcher_id: str | None, agent_seconds: float) -> list[LimitUsage]:
    """List the usage of each limit; wall clock and submissions are counted elsewhere.

    Args:
        limits: the limits in force.
        sums: the committed sums.
        researcher_id: the researcher whose own limits to include; None for the campaign's alone.
        agent_seconds: worked by all researchers together, for the rate.
    """
    return [standing for standing, _ in _measured(limits, sums, researcher_id, agent_seconds, Charge())]


def check_limits(
    limits: Limits, sums: ChargeSums, researcher_id: str | None, agent_seconds: float, asked: Charge
) -> None:
    """Refuse a request that would pass a limit.

    Raises:
        LimitReached: names the first limit that the request would pass, the campaign's before the researcher's.
    """
    for standing, more in _measured(limits, sums, researcher_id, agent_seconds, asked):
        if standing.committed + more > standing.ceiling:
            raise LimitReached(
                LimitBreach(standing.scope, standing.limit, standing.ceiling, standing.committed, more),
                remedy_for(standing.limit, standing.scope),
            )


def remedy_for(limit: str, scope: str) -> str:
    """Return the remedy for a limit that is reached."""
    if limit == "usd_per_agent_hour":
        return "It frees itself as hours are worked; or raise limits.usd_per_agent_hour"
    if limit == "scoring_runs_per_hour":
        return "It frees itself as hours are worked; or raise limits.researcher.scoring_runs_per_hour"
    field = f"limits.{limit}" if scope == CAMPAIGN else f"limits.researcher.{limit}"
    flag = {"usd": " (`aar resume --usd N`)", "tokens": " (`aar resume --tokens N`)"}.get(limit, "")
    return f"Raise {field}{flag if scope == CAMPAIGN else ''} to go on"


def _measured(
    limits: Limits, sums: ChargeSums, researcher_id: str | None, agent_seconds: float, asked: Charge
) -> Iterator[tuple[LimitUsage, Decimal]]:
    whole = sums.campaign
    if limits.usd is not None:
        yield LimitUsage(CAMPAIGN, "usd", limits.usd, whole.usd), asked.usd
    if limits.tokens is not None:
        yield LimitUsage(CAMPAIGN, "tokens", Decimal(limits.tokens), Decimal(whole.tokens)), Decimal(asked.tokens)
    if limits.usd_per_agent_hour is not None:
        # Under one hour counts as one: a rate over the first minutes would refuse the first call.
        hours = max(Decimal(str(agent_seconds)) / 3600, Decimal(1))
        yield (
            LimitUsage(CAMPAIGN, "usd_per_agent_hour", limits.usd_per_agent_hour, whole.usd / hours),
            asked.usd / hours,
        )
    if limits.core_hours is not None:
        yield (
            LimitUsage(CAMPAIGN, "core_hours", Decimal(str(limits.core_hours)), whole.core_ms / _MS_PER_HOUR),
            asked.core_ms / _MS_PER_HOUR,
        )
    if researcher_id is None:
        return
    own, theirs = limits.researcher, sums.researchers[researcher_id]
    if own.usd is not None:
        yield LimitUsage(researcher_id, "usd", own.usd, theirs.usd), asked.usd
    if own.tokens is not None:
        yield LimitUsage(researcher_id, "tokens", Decimal(own.tokens), Decimal(theirs.tokens)), Decimal(asked.tokens)
    if own.turns is not None:
        yield LimitUsage(researcher_id, "turns", Decimal(own.turns), Decimal(theirs.calls)), Decimal(asked.calls)
