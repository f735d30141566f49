"""Dollars billed by a campaign over time, for charts of scores over cost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from sqlalchemy import BigInteger, ColumnElement, select, type_coerce
from sqlalchemy.orm import Session

from aar.budget.limits import RELEASED, RESERVED
from aar.budget.totals import read_in_parts
from aar.store.models import LedgerEntry

_NANO = 10**9


@dataclass(frozen=True, slots=True)
class SpendingSeries:
    """The cumulative bill as a series.

    Times of charges in order, and the billionths of a dollar billed in all until each.
    """

    moments: Sequence[datetime]
    sums: Sequence[int]

    def until(self, at: datetime) -> int:
        """Returns the billionths of a dollar billed until a time."""
        found = bisect_right(self.moments, at)
        return self.sums[found - 1] if found else 0


@dataclass(frozen=True, slots=True)
class Spending:
    """The bills of a campaign."""

    bills: Sequence[SpendingSeries]

    def until(self, at: datetime) -> float:
        """Returns the dollars billed until a time."""
        return sum(each.until(at) for each in self.bills) / _NANO

    @property
    def total(self) -> float:
        """Returns the total dollars billed."""
        return sum(each.sums[-1] for each in self.bills if each.sums) / _NANO


def read_spending(session: Session, campaign_id: str) -> Spending:
    """Reads a campaign's bill from its ledger.

    Charges lost in a crash count from the time at which that was noted.
    """
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
