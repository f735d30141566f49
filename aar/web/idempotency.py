"""Idempotency: one effect per key for requests that are sent twice.

The client chooses the key, or it comes from the form.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
_MOST = 1000


class IdempotencyCache:
    """A cache of the newest results by key, until the server ends.

    Work under one key does not wait for other keys.
    """

    def __init__(self) -> None:
        self._done: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self._working: dict[tuple[str, ...], _Turn] = {}

    async def run(self, key: tuple[str, ...] | None, work: Callable[[], Awaitable[T]]) -> T:
        """Returns the result of ``work``, or the stored result of this key.

        None as the key always runs it.
        """
        if key is None:
            return await work()
        turn = self._working.setdefault(key, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                if key not in self._done:
                    self._done[key] = await work()
                    while len(self._done) > _MOST:
                        self._done.popitem(last=False)
                result: T = self._done[key]
                return result
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._working[key]


@dataclass(slots=True)
class _Turn:
    """A lock for one key, with the number of its users."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
