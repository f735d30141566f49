"""Caches results that readers computed from rows that never change again.

A log or a ledger only grows, so a sum up to a cursor stays true. Only sessions of ``Database.reading`` store anything
there: rows that a writing session sees may still be rolled back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any

from sqlalchemy.orm import Session

CACHE_KEY = "aar_kept"
"""The key of a session's ``SessionCache`` in its ``info``."""
WRITING_KEY = "aar_writes"
"""The key of the flag that a session may write."""
_MOST = 256


class SessionCache:
    """A small thread-safe cache of values by key; the least used goes first.

    Values must not be changed.
    """

    def __init__(self) -> None:
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> Any:
        """Return the value, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        """Store a value in place of the one before."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > _MOST:
                self._values.popitem(last=False)


def get_cached(session: Session, key: Hashable) -> Any:
    """Return a value cached for this session's database; None if there is none."""
    store = session.info.get(CACHE_KEY)
    return store.get(key) if isinstance(store, SessionCache) else None


def put_cached(session: Session, key: Hashable, value: Any) -> None:
    """Cache a value for later sessions; does nothing in one that may write."""
    store = session.info.get(CACHE_KEY)
    if isinstance(store, SessionCache) and not session.info.get(WRITING_KEY):
        store.put(key, value)
