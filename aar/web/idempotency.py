"""One effect for requests that are sent twice: by a key that the sender chose, or that stood in the form."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
_MOST = 1000


class IdempotencyCache:
    """Remembers the newest results by key, until the server ends; work under one key waits for no other key's."""

    def __init__(self) -> None:
        self._done: OrderedDict[tuple[str, ...], Any] = OrderedDict()
        self._working: dict[tuple[str, ...], _Turn] = {}

    async def run(self, key: tuple[str, ...] | None, work: Callable[[], Awaitable[T]]) -> T:
        """The result of ``work``, or of the one that was done under this key before; None as key always works."""
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
    """Whose turn it is under one key, and how many want it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
