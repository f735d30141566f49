"""What a campaign and each of its researchers spent, read from the table."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, case, func, select
from sqlalchemy.orm import Session

from aar.budget.charges import LOST, MODEL, RELEASED, RESERVED
from aar.budget.usage import Usage
from aar.store.models import LedgerEntry, Researcher


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over ledger entries.

    Args:
        usd: dollars billed: ``model_usd`` + ``compute_usd`` + ``lost_usd``.
        reserved_usd: dollars set aside for what runs now.
        model_usd, compute_usd: by what was bought.
        lost_usd: worst cases of what a crash cut off.
        tokens: settled tokens by kind.
        lost_tokens: worst-case tokens of what a crash cut off.
        calls: model calls billed or lost.
        agent_seconds: worked by researchers.
        core_seconds: CPU core-seconds of jobs and scoring runs.
    """

    usd: Decimal = Decimal(0)
    reserved_usd: Decimal = Decimal(0)
    model_usd: Decimal = Decimal(0)
    compute_usd: Decimal = Decimal(0)
    lost_usd: Decimal = Decimal(0)
    tokens: Usage = field(default_factory=Usage)
    lost_tokens: int = 0
    calls: int = 0
    agent_seconds: float = 0.0
    core_seconds: float = 0.0

    @property
    def total_tokens(self) -> int:
        """Tokens of all kinds, lost ones included."""
        return self.tokens.total + self.lost_tokens

    @property
    def usd_per_agent_hour(self) -> Decimal:
        """Dollars billed per hour worked; 0 before any work."""
        if self.agent_seconds <= 0:
            return Decimal(0)
        return self.usd * 3600 / Decimal(str(self.agent_seconds))


@dataclass(frozen=True, slots=True)
class CampaignTotals:
    """The whole campaign's sums (baseline runs included), and each researcher's by id."""

    campaign: Totals
    researchers: dict[str, Totals] = field(default_factory=dict)


def totals(session: Session, campaign_id: str) -> CampaignTotals:
    """The sums of a campaign; every researcher appears, also one that spent nothing."""
    team = session.execute(
        select(Researcher.id, Researcher.active_seconds)
        .where(Researcher.campaign_id == campaign_id)
        .order_by(Researcher.index)
    )
    worked = {row.id: row.active_seconds for row in team}
    rows = {row.researcher_id: row for row in session.execute(_sums(campaign_id))}
    researchers = {key: _totals([rows[key]] if key in rows else [], seconds) for key, seconds in worked.items()}
    return CampaignTotals(_totals(list(rows.values()), sum(worked.values())), researchers)


def _sums(campaign_id: str) -> Any:
    entry = LedgerEntry
    ended = entry.state.not_in((RESERVED, RELEASED))
    lost = entry.state == LOST
    model = entry.kind == MODEL

    def over(condition: Any, value: Any) -> Any:
        return func.coalesce(func.sum(case((condition, value), else_=0)), 0)

    return (
        select(
            entry.researcher_id,
            over(ended & ~lost & model, entry.usd).label("model_usd"),
            over(ended & ~lost & ~model, entry.usd).label("compute_usd"),
            over(lost, entry.reserved_usd).label("lost_usd"),
            over(entry.state == RESERVED, entry.reserved_usd).label("reserved_usd"),
            over(lost, entry.reserved_tokens).label("lost_tokens"),
            over(ended & model, 1).label("calls"),
            over(ended & ~model, entry.seconds).label("core_seconds"),
            *(
                func.sum(getattr(entry, kind)).label(kind)
                for kind in (
                    "input_tokens",
                    "cache_write_5m_tokens",
                    "cache_write_1h_tokens",
                    "cache_read_tokens",
                    "output_tokens",
                    "server_tool_uses",
                )
            ),
        )
        .where(entry.campaign_id == campaign_id)
        .group_by(entry.researcher_id)
    )


def _totals(rows: list[Row[Any]], agent_seconds: float) -> Totals:
    def added(column: str) -> Any:
        return sum(getattr(row, column) for row in rows)

    model, compute, lost = (Decimal(added(f"{kind}_usd")) for kind in ("model", "compute", "lost"))
    return Totals(
        usd=model + compute + lost,
        reserved_usd=Decimal(added("reserved_usd")),
        model_usd=model,
        compute_usd=compute,
        lost_usd=lost,
        tokens=Usage(
            input_tokens=int(added("input_tokens")),
            cache_write_5m_tokens=int(added("cache_write_5m_tokens")),
            cache_write_1h_tokens=int(added("cache_write_1h_tokens")),
            cache_read_tokens=int(added("cache_read_tokens")),
            output_tokens=int(added("output_tokens")),
            server_tool_uses=int(added("server_tool_uses")),
        ),
        lost_tokens=int(added("lost_tokens")),
        calls=int(added("calls")),
        agent_seconds=agent_seconds,
        core_seconds=float(added("core_seconds")),
    )
