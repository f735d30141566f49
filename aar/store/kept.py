"""What readers worked out of rows that never change again, kept for the next reader.

A log or a ledger only grows, so what was summed up to a cursor stays true. Only sessions of ``Database.reading`` keep
anything: what a writing session sees may yet be rolled back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any

from sqlalchemy.orm import Session

INFO = "aar_kept"
"""Where a session has it."""
_MOST = 256


class Kept:
    """A few values by key, the least used forgotten first; safe in threads. Values must not be changed."""

    def __init__(self) -> None:
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> Any:
        """The value, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value in place of the one before."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > _MOST:
                self._values.popitem(last=False)


def kept_of(session: Session) -> Kept | None:
    """What readers of this session's database keep; None in a session that may not."""
    found = session.info.get(INFO)
    return found if isinstance(found, Kept) else None
