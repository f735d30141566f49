"""Reports outages of a service: the first failure, then once a minute, recovery.

Of failures that follow each other with replies between, one per minute is reported, and each that lasts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from aar.errors import GatewayError
from aar.events import AnyEvent, ModelServiceRecovered, ModelServiceUnavailable

EventSink = Callable[[AnyEvent], None]

_EVERY_SECONDS = 60.0
_LASTING_SECONDS = 5.0
"""Failures without a reply between that last this long are always reported, even soon after earlier ones."""
_TOLD_PAUSE_SECONDS = 60.0
"""Pauses that the service requests are reported at once from this length on."""
_FAR_OFF = timedelta(days=3650)


def _ignore(_: AnyEvent) -> None:
    return


class ServiceOutageMonitor:
    """Counts failed attempts in a row, over all callers of one service.

    Args:
        service: its address or name, for people.
        tell: receives the events about its outages.
        clock: seconds, for tests.
    """

    def __init__(self, service: str, tell: EventSink = _ignore, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._tell = tell
        self._clock = clock
        self._began = 0.0
        self._told_at = float("-inf")
        self._told_until = float("-inf")
        self._told = False
        self.answered_at = float("-inf")
        """Time of the service's last reply, by the clock."""
        self.tries = 0
        """Failed attempts since the last reply."""
        self.error: GatewayError | None = None
        """The error of the last failed attempt; None once the service answers."""
        self.on_recovery: Callable[[], None] = lambda: None

    @property
    def has_ever_answered(self) -> bool:
        """Return whether the service ever replied."""
        return self.answered_at > float("-inf")

    def record_failure(self, error: GatewayError, seconds: float, asked: float = 0.0) -> None:
        """Record a failed attempt.

        Args:
            seconds: until the next one, at the earliest.
            asked: of it, the pause that the service requests.
        """
        now = self._clock()
        if self.tries == 0:
            self._began = now
        self.tries += 1
        self.error = error
        long_pause = asked >= _TOLD_PAUSE_SECONDS
        new_pause = long_pause and now + asked > self._told_until + _EVERY_SECONDS / 2
        lasting = not self._told and now - self._began >= _LASTING_SECONDS
        if not new_pause and ((now - self._told_at < _EVERY_SECONDS and not lasting) or now < self._told_until):
            return
        self._told_at, self._told = now, True
        if long_pause:
            self._told_until = now + asked
        self._tell(
            ModelServiceUnavailable(
                service=self._service,
                cause=error.message,
                tries=self.tries,
                seconds=round(seconds, 1),
                until=time_after(asked) if long_pause else "",
            )
        )

    def record_reply(self) -> None:
        """Record a reply."""
        self.answered_at = self._clock()
        if self.error is None:
            return
        tries, self.tries, self.error = self.tries, 0, None
        self._told_until = float("-inf")
        if self._told:
            self._told = False
            seconds = round(self.answered_at - self._began, 1)
            self._tell(ModelServiceRecovered(service=self._service, tries=tries, seconds=seconds))
        self.on_recovery()


def time_after(seconds: float) -> str:
    """Return the time of day after some seconds, for people."""
    off = timedelta(seconds=min(seconds, _FAR_OFF.total_seconds()))
    return (datetime.now(UTC) + off).strftime("%Y-%m-%d %H:%M UTC")
