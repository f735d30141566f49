"""Waits for a sandbox backend during an outage, such as an engine restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from aar.errors import BackendAway

T = TypeVar("T")

PATIENCE_SECONDS = 900.0
"""Longest wait for a backend that does not answer."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_NOTIFY_SECONDS = 60.0


class BackendOutageMonitor:
    """Waits for one backend on behalf of all its users.

    An outage is reported once a minute, whatever the number of waiting users.

    Args:
        seconds: longest wait of each user.
        tell: called with the backend's error and the next step: ``try 5, next in 16 s``, ``answers again after 94 s``,
            ``given up``.
    """

    def __init__(
        self, seconds: float = PATIENCE_SECONDS, on_change: Callable[[BackendAway, str], None] | None = None
    ) -> None:
        self._seconds = seconds
        self._tell = on_change
        self._last: BackendAway | None = None
        self._began = self._told = self._failed = 0.0

    @property
    def is_down(self) -> bool:
        """True if the backend did not answer when it was last needed."""
        return self._last is not None

    async def run_when_up(self, work: Callable[[], Awaitable[T]], stop: asyncio.Event | None = None) -> T:
        """Run work that needs the backend, with retries during an outage.

        Args:
            work: begins it; it must leave nothing half done where it raises BackendAway.
            stop: ends the wait.

        Raises:
            BackendAway: the backend did not come back in time, or ``stop`` was set.
            Exception: any other error of ``work``, at once.
        """
        began: float | None = None
        tries = 0
        while True:
            asked = monotonic()
            try:
                done = await work()
            except BackendAway as error:
                began = monotonic() if began is None else began
                tries += 1
                pause = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2 ** (tries - 1))
                left = began + self._seconds - monotonic()
                if stop is not None and stop.is_set():
                    raise
                if left <= 0:
                    self._note(error, "given up", always=True)
                    raise
                pause = min(pause, left)
                self._note(error, f"try {tries}, next in {pause:.0f} s")
                await _sleep(pause, stop)
            else:
                self._answers(asked)
                return done

    def _note(self, error: BackendAway, then: str, *, always: bool = False) -> None:
        moment = monotonic()
        if self._last is None:
            self._began = moment
        first, self._last, self._failed = self._last is None, error, moment
        if self._tell is not None and (first or always or moment - self._told >= _NOTIFY_SECONDS):
            self._told = moment
            self._tell(error, then)

    def _answers(self, asked: float) -> None:
        # A check from before the last failure is out of date.
        if self._last is None or asked < self._failed:
            return
        error, self._last = self._last, None
        if self._tell is not None:
            self._tell(error, f"answers again after {monotonic() - self._began:.0f} s")


async def _sleep(seconds: float, stop: asyncio.Event | None) -> None:
    if stop is None:
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
