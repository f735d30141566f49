"""The ledger's rows and the steps of their lives: reserved, then settled or released, or lost in a crash."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.budget.charges import LOST, RESERVED, SETTLED, Charge, Sums, charge_of, milliseconds, sums_of
from aar.budget.usage import Usage
from aar.errors import NotFound
from aar.store.models import LedgerEntry, Researcher
from aar.store.types import now


def take_up(session: Session, campaign_id: str) -> tuple[int, Sums]:
    """Turn open reservations into lost ones, charged at their worst case; returns their number and all sums."""
    orphans = session.scalars(
        select(LedgerEntry).where(LedgerEntry.campaign_id == campaign_id, LedgerEntry.state == RESERVED)
    ).all()
    for orphan in orphans:
        orphan.state, orphan.usd, orphan.settled_at = LOST, orphan.reserved_usd, now()
    session.flush()
    return len(orphans), sums_of(session, campaign_id)


def end(
    session: Session, campaign_id: str, request_id: str, state: str, use: Callable[[LedgerEntry], None]
) -> tuple[LedgerEntry, Charge]:
    """Settle or release a reservation.

    Returns:
        The row, and by how much its charge changed: nothing when it was settled before or is in ``state`` already.

    Raises:
        NotFound: the campaign has no such reservation.
    """
    entry = session.scalar(
        select(LedgerEntry)
        .where(LedgerEntry.request_id == request_id, LedgerEntry.campaign_id == campaign_id)
        .with_for_update()
    )
    if entry is None:
        raise NotFound(f"no reservation {request_id} in campaign {campaign_id}")
    if entry.state in (SETTLED, state):
        return entry, Charge()
    before = charge_of(entry)
    use(entry)
    entry.state, entry.settled_at = state, now()
    change = charge_of(entry) - before
    session.flush()
    return entry, change


def fill_call(entry: LedgerEntry, usage: Usage, seconds: float) -> None:
    """Write what a call used into its row."""
    entry.input_tokens = usage.input_tokens
    entry.cache_write_5m_tokens = usage.cache_write_5m_tokens
    entry.cache_write_1h_tokens = usage.cache_write_1h_tokens
    entry.cache_read_tokens = usage.cache_read_tokens
    entry.output_tokens = usage.output_tokens
    entry.server_tool_uses = usage.server_tool_uses
    entry.seconds = seconds


def fill_compute(entry: LedgerEntry, core_seconds: float) -> None:
    """Write the core-seconds a computation took into its row."""
    entry.seconds = milliseconds(core_seconds) / 1000


def agent_seconds(session: Session, campaign_id: str) -> float:
    """Seconds worked by all researchers of a campaign together."""
    worked = session.scalar(select(func.sum(Researcher.active_seconds)).where(Researcher.campaign_id == campaign_id))
    return float(worked or 0.0)
