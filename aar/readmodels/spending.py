"""A campaign's bill over time: dollars billed until a moment, so that scores can be drawn over what they cost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from sqlalchemy import BigInteger, ColumnElement, select, type_coerce
from sqlalchemy.orm import Session

from aar.budget.charges import RELEASED, RESERVED
from aar.budget.ledger_cache import read_in_parts
from aar.store.models import LedgerEntry

_NANO = 10**9


@dataclass(frozen=True, slots=True)
class SpendingSeries:
    """Moments at which something was billed, in order, and the billionths of a dollar billed in all until each."""

    moments: Sequence[datetime]
    sums: Sequence[int]

    def until(self, at: datetime) -> int:
        """Billed until a moment."""
        found = bisect_right(self.moments, at)
        return self.sums[found - 1] if found else 0


@dataclass(frozen=True, slots=True)
class Spending:
    """The bills of a campaign."""

    bills: Sequence[SpendingSeries]

    def until(self, at: datetime) -> float:
        """Dollars billed until a moment."""
        return sum(each.until(at) for each in self.bills) / _NANO

    @property
    def total(self) -> float:
        """Dollars billed in all."""
        return sum(each.sums[-1] for each in self.bills if each.sums) / _NANO


def read_spending(session: Session, campaign_id: str) -> Spending:
    """The bill of a campaign, from its ledger; what was lost in a crash counts when that was noted."""
    entry = LedgerEntry

    def read(which: ColumnElement[bool]) -> tuple[SpendingSeries, int]:
        rows = session.execute(
            select(entry.settled_at, type_coerce(entry.usd, BigInteger), entry.state)
            .where(which)
            .order_by(entry.settled_at, entry.id)
        ).all()
        billed = [
            (at, usd) for at, usd, state in rows if at is not None and usd > 0 and state not in (RESERVED, RELEASED)
        ]
        return SpendingSeries([at for at, _ in billed], list(accumulate(usd for _, usd in billed))), len(rows)

    return Spending(read_in_parts(session, campaign_id, "spending", read))
