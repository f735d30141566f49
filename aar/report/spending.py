"""A campaign's bill over time: dollars billed until a moment, so that scores can be drawn over what they cost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.budget.charges import RELEASED, RESERVED
from aar.store.models import LedgerEntry


@dataclass(frozen=True, slots=True)
class Spending:
    """Moments at which something was billed, in order, and the dollars billed in all until each."""

    moments: Sequence[datetime]
    sums: Sequence[float]

    def until(self, at: datetime) -> float:
        """Dollars billed until a moment."""
        found = bisect_right(self.moments, at)
        return self.sums[found - 1] if found else 0.0

    @property
    def total(self) -> float:
        """Dollars billed in all."""
        return self.sums[-1] if self.sums else 0.0


def spending(session: Session, campaign_id: str) -> Spending:
    """The bill of a campaign, from its ledger; what was lost in a crash counts when that was noted."""
    entry = LedgerEntry
    rows = session.execute(
        select(entry.settled_at, entry.usd)
        .where(entry.campaign_id == campaign_id, entry.state.not_in((RESERVED, RELEASED)))
        .where(entry.settled_at.is_not(None), entry.usd > 0)
        .order_by(entry.settled_at, entry.id)
    ).all()
    moments = [at for at, _ in rows if at is not None]
    return Spending(moments, [float(each) for each in accumulate(usd for _, usd in rows)])
