"""Sums a campaign's and its researchers' spending, read from the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, and_, func, select
from sqlalchemy.orm import Session

from aar.budget.ledger_entries import LOST, MODEL, RESERVED, SETTLED
from aar.llm.usage import Usage
from aar.store.database import get_cached, put_cached
from aar.store.models import LedgerEntry, Researcher

T = TypeVar("T")
Read = Callable[[ColumnElement[bool]], tuple[T, int]]
"""From a condition on ledger entries to their sums, and their number."""
_MOST_ANEW = 1000
_entry = LedgerEntry
_TOKENS = (
    "input_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cache_read_tokens",
    "output_tokens",
    "server_tool_uses",
)
_SUMS = select(
    _entry.researcher_id,
    _entry.state,
    _entry.kind,
    func.count().label("entries"),
    *(
        func.sum(getattr(_entry, name)).label(name)
        for name in ("usd", "reserved_usd", "reserved_tokens", "seconds", *_TOKENS)
    ),
).group_by(_entry.state, _entry.kind, _entry.researcher_id)


@dataclass(frozen=True, slots=True)
class _Part:
    until: datetime
    count: int
    value: Any


def read_in_parts(session: Session, campaign_id: str, name: str, read: Read[T]) -> list[T]:
    """Read a campaign's ledger in parts; the long-settled part may come from the cache.

    Settled entries never change again. The part of a ledger that was settled until some moment is read once and cached.
    Nothing is ever taken out of it, so with the same number of rows it is the same part; clocks and commits do not
    matter.

    Args:
        name: the name of the result of ``read``; it is cached under it.
        read: does not see released entries, which cost nothing.
    """
    of_campaign = _entry.campaign_id == campaign_id
    settled = and_(of_campaign, _entry.state == SETTLED)
    key = ("ledger", name, campaign_id)
    part: _Part | None = get_cached(session, key)
    if part is None or not _holds(session, settled, part):
        until = session.scalar(select(func.max(_entry.settled_at)).where(settled)) or datetime.min.replace(tzinfo=UTC)
        value, count = read(and_(settled, _entry.settled_at <= until))
        part = _Part(until, count, value)
        put_cached(session, key, part)
    rest = (and_(settled, _entry.settled_at > part.until), and_(of_campaign, _entry.state.in_((RESERVED, LOST))))
    return [part.value, *(read(which)[0] for which in rest)]


def _holds(session: Session, settled: ColumnElement[bool], part: _Part) -> bool:
    def count(*which: ColumnElement[bool]) -> int:
        return session.scalar(select(func.count()).select_from(_entry).where(settled, *which)) or 0

    return count(_entry.settled_at <= part.until) == part.count and count(_entry.settled_at > part.until) <= _MOST_ANEW


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over ledger entries.

    Args:
        usd: dollars billed: ``model_usd`` + ``compute_usd`` + ``lost_usd``.
        reserved_usd: dollars reserved for calls and computations in progress.
        model_usd, compute_usd: dollars by kind of purchase.
        lost_usd: worst cases of calls that a crash cut off.
        tokens: settled tokens by kind.
        lost_tokens: worst-case tokens of calls that a crash cut off.
        calls: model calls billed or lost.
        agent_seconds: worked by researchers.
        core_seconds: core-seconds of every core of a sandbox, busy or idle, and of scoring runs.
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
        """Return the tokens of all kinds, lost ones included."""
        return self.tokens.total + self.lost_tokens

    @property
    def usd_per_agent_hour(self) -> Decimal | None:
        """Return the dollars billed per hour worked; None before any work."""
        if self.agent_seconds <= 0:
            return None
        return self.usd * 3600 / Decimal(str(self.agent_seconds))


@dataclass(frozen=True, slots=True)
class CampaignTotals:
    """The whole campaign's sums, and each researcher's by id.

    Baseline runs are included.
    """

    campaign: Totals
    researchers: dict[str, Totals] = field(default_factory=dict)


def read_totals(session: Session, campaign_id: str) -> CampaignTotals:
    """Read the sums of a campaign; researchers that spent nothing appear too."""
    team = session.execute(
        select(Researcher.id, Researcher.active_seconds)
        .where(Researcher.campaign_id == campaign_id)
        .order_by(Researcher.index)
    )
    worked = {row.id: row.active_seconds for row in team}

    def read(which: ColumnElement[bool]) -> tuple[list[Row[Any]], int]:
        rows = list(session.execute(_SUMS.where(which)))
        return rows, sum(row.entries for row in rows)

    rows = [row for part in read_in_parts(session, campaign_id, "totals", read) for row in part]
    own: dict[str | None, list[Row[Any]]] = {key: [] for key in worked}
    for row in rows:
        own.setdefault(row.researcher_id, []).append(row)
    researchers = {key: _totals(own[key], seconds) for key, seconds in worked.items()}
    return CampaignTotals(_totals(rows, sum(worked.values())), researchers)


def _totals(rows: list[Row[Any]], agent_seconds: float) -> Totals:
    settled = [row for row in rows if row.state == SETTLED]
    lost = [row for row in rows if row.state == LOST]
    model_usd = sum((row.usd for row in settled if row.kind == MODEL), Decimal(0))
    compute_usd = sum((row.usd for row in settled if row.kind != MODEL), Decimal(0))
    lost_usd = sum((row.reserved_usd for row in lost), Decimal(0))
    return Totals(
        usd=model_usd + compute_usd + lost_usd,
        reserved_usd=sum((row.reserved_usd for row in rows if row.state == RESERVED), Decimal(0)),
        model_usd=model_usd,
        compute_usd=compute_usd,
        lost_usd=lost_usd,
        tokens=Usage(**{kind: sum(int(getattr(row, kind)) for row in rows) for kind in _TOKENS}),
        lost_tokens=sum(int(row.reserved_tokens) for row in lost),
        calls=sum(row.entries for row in settled + lost if row.kind == MODEL),
        agent_seconds=agent_seconds,
        core_seconds=float(sum(row.seconds for row in settled + lost if row.kind != MODEL)),
    )
