"""The ledger's rows and states: reserved, then settled, released, or lost.

Lost means that a crash cut the call off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import Row, Table, bindparam, func, select
from sqlalchemy.orm import Session

from aar.budget.charges import LOST, RESERVED, SETTLED, Charge, ChargeSums, entry_charge, sum_charges, to_milliseconds
from aar.errors import NotFound
from aar.llm.pricing.usage import Usage
from aar.store.column_types import now
from aar.store.models import LedgerEntry, Researcher

UsedColumns = Callable[[Row[Any]], Mapping[str, Any]]
"""From a reservation's row to the columns of its usage."""

# Core statements: two rows a turn through the unit of work cost more than the rest of the transaction.
_TABLE = cast(Table, LedgerEntry.__table__)
_INSERT = _TABLE.insert()
_UPDATE = _TABLE.update().where(_TABLE.c.request_id == bindparam("ended"))
_SELECT = (
    select(*_TABLE.c)
    .where(_TABLE.c.request_id == bindparam("request"), _TABLE.c.campaign_id == bindparam("campaign"))
    .with_for_update()
)


def insert_reservation(session: Session, row: Mapping[str, Any]) -> None:
    """Insert a reservation. Raises IntegrityError if its request id was used before."""
    session.flush()
    session.connection().execute(_INSERT, row)


def state_of(session: Session, campaign_id: str, request_id: str) -> str | None:
    """Return the state of a reservation; None if there is none."""
    query = select(LedgerEntry.state).where(
        LedgerEntry.request_id == request_id, LedgerEntry.campaign_id == campaign_id
    )
    return session.scalar(query)


def recover_open_entries(session: Session, campaign_id: str) -> tuple[int, ChargeSums]:
    """Mark open reservations as lost; returns their number and all sums.

    They are charged at their worst case.
    """
    orphans = session.scalars(
        select(LedgerEntry).where(LedgerEntry.campaign_id == campaign_id, LedgerEntry.state == RESERVED)
    ).all()
    for orphan in orphans:
        orphan.state, orphan.usd, orphan.settled_at = LOST, orphan.reserved_usd, now()
    session.flush()
    return len(orphans), sum_charges(session, campaign_id)


def close_entry(
    session: Session, campaign_id: str, request_id: str, state: str, use: UsedColumns
) -> tuple[Any, Charge]:
    """Settle or release a reservation.

    Returns:
        The row after that, and the change of its charge: nothing when it was settled before or is in
        ``state`` already.

    Raises:
        NotFound: the campaign has no such reservation.
    """
    session.flush()
    connection = session.connection()
    row = connection.execute(_SELECT, {"request": request_id, "campaign": campaign_id}).one_or_none()
    if row is None:
        raise NotFound(f"no reservation {request_id} in campaign {campaign_id}")
    if row.state in (SETTLED, state):
        return row, Charge()
    changed = {**use(row), "state": state, "settled_at": now()}
    connection.execute(_UPDATE, {**changed, "ended": request_id})
    entry = SimpleNamespace(**{**row._mapping, **changed})
    return entry, entry_charge(entry) - entry_charge(row)


def call_columns(usage: Usage, seconds: float) -> dict[str, Any]:
    """Return the columns of a call's usage."""
    return {
        "input_tokens": usage.input_tokens,
        "cache_write_5m_tokens": usage.cache_write_5m_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "output_tokens": usage.output_tokens,
        "server_tool_uses": usage.server_tool_uses,
        "seconds": seconds,
    }


def compute_columns(core_seconds: float) -> dict[str, Any]:
    """Return the columns of a computation's usage."""
    return {"seconds": to_milliseconds(core_seconds) / 1000}


def total_agent_seconds(session: Session, campaign_id: str) -> float:
    """Return the seconds worked by all researchers of a campaign together."""
    worked = session.scalar(select(func.sum(Researcher.active_seconds)).where(Researcher.campaign_id == campaign_id))
    return float(worked or 0.0)
