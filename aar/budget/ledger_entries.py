"""The ledger's entries: their states, what they charge, and the sums of it.

An entry is reserved, then settled, released, or lost: a crash cut the call off. Its charge depends on its state alone:
a reservation and a lost call count at their worst case, a settled one at what it used, a released one not at all. The
sums in memory are therefore always the sums of the table's rows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import Row, Table, bindparam, func, select
from sqlalchemy.orm import Session

from aar.errors import NotFound
from aar.llm.usage import Usage
from aar.store.column_types import now
from aar.store.models import LedgerEntry

MODEL, COMPUTE, SCORING = "model", "compute", "scoring"
RESERVED, SETTLED, RELEASED, LOST = "reserved", "settled", "released", "lost"
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


@dataclass(frozen=True, slots=True)
class Charge:
    """An amount that counts against limits: dollars, tokens, model calls, core-milliseconds."""

    usd: Decimal = Decimal(0)
    tokens: int = 0
    calls: int = 0
    core_ms: int = 0

    def __add__(self, other: Charge) -> Charge:
        return Charge(
            self.usd + other.usd,
            self.tokens + other.tokens,
            self.calls + other.calls,
            self.core_ms + other.core_ms,
        )

    def __neg__(self) -> Charge:
        return Charge(-self.usd, -self.tokens, -self.calls, -self.core_ms)

    def __sub__(self, other: Charge) -> Charge:
        return self + -other


class ChargeSums:
    """Sums of charges by campaign and researcher; the ledger does the locking."""

    def __init__(self) -> None:
        self.campaign = Charge()
        self.researchers: defaultdict[str, Charge] = defaultdict(Charge)

    def add(self, researcher_id: str | None, charge: Charge) -> None:
        """Add a charge; a negated one is taken back."""
        self.campaign += charge
        if researcher_id is not None:
            self.researchers[researcher_id] += charge


def to_milliseconds(core_seconds: float) -> int:
    """Convert core-seconds to whole milliseconds, rounded up, so that sums are exact."""
    return math.ceil(round(core_seconds * 1000, 6))


def entry_charge(entry: Any) -> Charge:
    """Return the charge of one row with the columns of ``LedgerEntry``."""
    if entry.state == RELEASED:
        return Charge()
    used = entry.state == SETTLED
    on_cores = entry.kind != MODEL
    return Charge(
        usd=entry.usd if used else entry.reserved_usd,
        tokens=entry_tokens(entry) if used else entry.reserved_tokens,
        calls=0 if on_cores else 1,
        core_ms=to_milliseconds(entry.seconds) if on_cores else 0,
    )


def entry_tokens(entry: Any) -> int:
    """Return the tokens of all kinds that a settled row used."""
    return int(
        entry.input_tokens
        + entry.cache_write_5m_tokens
        + entry.cache_write_1h_tokens
        + entry.cache_read_tokens
        + entry.output_tokens
    )


def sum_charges(session: Session, campaign_id: str) -> ChargeSums:
    """Sum the charges of a campaign's rows in the database."""
    used_tokens = (
        LedgerEntry.input_tokens
        + LedgerEntry.cache_write_5m_tokens
        + LedgerEntry.cache_write_1h_tokens
        + LedgerEntry.cache_read_tokens
        + LedgerEntry.output_tokens
    )
    rows = session.execute(
        select(
            LedgerEntry.researcher_id,
            LedgerEntry.state,
            LedgerEntry.kind,
            func.sum(LedgerEntry.usd),
            func.sum(LedgerEntry.reserved_usd),
            func.sum(used_tokens),
            func.sum(LedgerEntry.reserved_tokens),
            func.count(),
            func.sum(func.round(LedgerEntry.seconds * 1000)),
        )
        .where(LedgerEntry.campaign_id == campaign_id, LedgerEntry.state != RELEASED)
        .group_by(LedgerEntry.researcher_id, LedgerEntry.state, LedgerEntry.kind)
    )
    sums = ChargeSums()
    for researcher_id, state, kind, usd, reserved_usd, tokens, reserved_tokens, count, core_ms in rows:
        used = state == SETTLED
        on_cores = kind != MODEL
        sums.add(
            researcher_id,
            Charge(
                usd=usd if used else reserved_usd,
                tokens=int(tokens if used else reserved_tokens),
                calls=0 if on_cores else count,
                core_ms=int(core_ms) if on_cores else 0,
            ),
        )
    return sums


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
