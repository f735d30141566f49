"""Incidents in sandboxes, for a campaign's record, and outages of a backend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import TypeVar

import structlog

from aar.errors import BackendAway
from aar.fsutil import MAX_LEVELS
from aar.sandbox.protocol import ExitReason

log = structlog.get_logger(__name__)
_MOST_DETAIL = 300
T = TypeVar("T")
PATIENCE_SECONDS = 900.0
"""Longest wait for a backend that does not answer."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_NOTIFY_SECONDS = 60.0


class IncidentKind(StrEnum):
    """The kind of an incident that is not the end of a command."""

    REFUSED = "refused"
    """A transfer was refused: a link, a special file, a name that leaves its directory, too much."""
    IMPOSTOR = "impostor"
    """Something other than the sandbox's first process connected to its channel."""
    GONE = "gone"
    """The sandbox ended, or was ended because it did not answer or answered nonsense."""
    CUT = "cut"
    """Too deeply nested parts of its workspace were not retained."""
    LEFT_BEHIND = "left_behind"
    """Part of it could not be removed; the next sweep tries again."""


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident in a sandbox.

    Args:
        sandbox, campaign_id: the place.
        kind: the event; an ``ExitReason`` for a command that was killed.
        detail: one line; may quote a command's output, so it is untrusted.
    """

    sandbox: str
    campaign_id: str
    kind: IncidentKind | ExitReason
    detail: str


IncidentSink = Callable[[Incident], None]
"""Callback for each incident, in the event loop: it must return at once."""


def report_left_behind(sink: IncidentSink | None, sandbox: str, campaign_id: str, error: Exception) -> None:
    """Log and report remains of a sandbox that could not be removed.

    This never ends the operation in progress.
    """
    cause = str(error) or type(error).__name__
    log.warning("something of a sandbox is left behind; the next sweep tries again", name=sandbox, error=cause)
    if sink is not None:
        sink(Incident(sandbox, campaign_id, IncidentKind.LEFT_BEHIND, cause[:_MOST_DETAIL]))


def report_pruned_tree(sink: IncidentSink | None, sandbox: str, campaign_id: str, cut: int) -> None:
    """Report the entries that a retained workspace lost because they nest too deep."""
    if cut and sink is not None:
        detail = f"{cut} files or folders nest deeper than {MAX_LEVELS} levels and were not retained"
        sink(Incident(sandbox, campaign_id, IncidentKind.CUT, detail))


class BackendOutageMonitor:
    """Waits for one backend on behalf of all its users.

    An outage is reported once a minute, whatever the number of waiting users.

    Args:
        seconds: longest wait of each user.
        on_change: called with the backend's error and the next step: ``try 5, next in 16 s``, ``given up``, ``answers
            again after 94 s``.
    """

    def __init__(
        self, seconds: float = PATIENCE_SECONDS, on_change: Callable[[BackendAway, str], None] | None = None
    ) -> None:
        self._seconds = seconds
        self._on_change = on_change
        self._last: BackendAway | None = None
        self._began = self._reported = self._failed = 0.0

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
            started = monotonic()
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
                self._answers(started)
                return done

    def _note(self, error: BackendAway, then: str, *, always: bool = False) -> None:
        moment = monotonic()
        if self._last is None:
            self._began = moment
        first, self._last, self._failed = self._last is None, error, moment
        if self._on_change is not None and (first or always or moment - self._reported >= _NOTIFY_SECONDS):
            self._reported = moment
            self._on_change(error, then)

    def _answers(self, started: float) -> None:
        # A check from before the last failure is out of date.
        if self._last is None or started < self._failed:
            return
        error, self._last = self._last, None
        if self._on_change is not None:
            self._on_change(error, f"answers again after {monotonic() - self._began:.0f} s")


async def _sleep(seconds: float, stop: asyncio.Event | None) -> None:
    if stop is None:
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
