"""Caches sums of settled ledger entries, which never change again.

The part of a ledger that was settled until some moment is read once and cached. Nothing is ever taken out of it, so
with the same number of rows it is the same part; clocks and commits do not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from aar.budget.charges import LOST, RESERVED, SETTLED
from aar.store.models import LedgerEntry
from aar.store.session_cache import get_cached, put_cached

T = TypeVar("T")
Read = Callable[[ColumnElement[bool]], tuple[T, int]]
"""From a condition on ledger entries to their sums, and their number."""
_MOST_ANEW = 1000
_entry = LedgerEntry


@dataclass(frozen=True, slots=True)
class _Part:
    until: datetime
    count: int
    value: Any


def read_in_parts(session: Session, campaign_id: str, name: str, read: Read[T]) -> list[T]:
    """Read a campaign's ledger in parts; the long-settled part may come from the cache.

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
