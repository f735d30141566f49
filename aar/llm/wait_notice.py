"""Notifies about model calls that wait for a slot or between attempts."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from aar.llm.outage_monitor import time_after

OnWait = Callable[[int, float], Awaitable[None]]
"""Receives a wait: attempts made so far, and seconds until the next one; 0.0 once it begins."""

LEAST_SECONDS = 1.5
"""A shorter wait is part of any call."""
_LONGEST_IN_SECONDS = 120.0
_WAITING = "waiting for the service"


async def ignore_wait(_tries: int, _seconds: float) -> None:
    """Ignore the waits of a call."""


class WaitNotice:
    """Notifies about the waits of one call, once each.

    A wait that is prolonged is notified again.

    Args:
        tell: receives the waits.
        held: seconds until any call to the service may start.
        clock: seconds, for tests.
    """

    def __init__(self, tell: OnWait, held: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._held = held
        self._clock = clock
        self._until: float | None = None

    async def begins(self, tries: int, seconds: float = 0.0) -> None:
        """Note that the call may have to wait.

        Args:
            tries: attempts made so far.
            seconds: its own wait until the next.
        """
        seconds = max(seconds, self._held())
        until = self._clock() + seconds
        if seconds >= LEAST_SECONDS and (self._until is None or until > self._until + 1.0):
            self._until = until
            await self._tell(tries, seconds)

    async def ends(self, tries: int) -> None:
        """Note that the next attempt begins."""
        if self._until is not None:
            self._until = None
            await self._tell(tries, 0.0)


def waiting_line(tries: int, seconds: float) -> str:
    """Return the activity line of a researcher whose call waits.

    Such as ``waiting for the service: try 3, next in 8 s``.
    """
    if seconds <= 0:
        return f"trying the service again: try {tries + 1}"
    due = f"next in {seconds:.0f} s" if seconds < _LONGEST_IN_SECONDS else f"next at {time_after(seconds)}"
    return f"{_WAITING}: try {tries}, {due}" if tries else f"{_WAITING}: {due}"


def is_waiting(doing: str) -> bool:
    """Return whether an activity line of ``waiting_line`` shows a wait under way."""
    return doing.startswith(_WAITING)
