"""Limits the concurrent calls of one key, shared by all researchers that use it.

The bound adapts: it doubles with every round of successes until the service first reports overload ("slow start",
Jacobson 1988), halves at each such report, and then grows by about one per round (additive increase, multiplicative
decrease; Chiu & Jain 1989). A Retry-After delays all callers, not only the one that received it. A circuit breaker
(Nygard 2007) protects the service: after many failures in a row all callers wait, and one at a time tries whether the
service works again. The outages of a service, and the waits of its callers, are reported from here.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from aar.errors import GatewayError
from aar.events import AnyEvent, ModelServiceRecovered, ModelServiceUnavailable
from aar.llm.api_errors import ServicePausing

EventSink = Callable[[AnyEvent], None]
_EVERY_SECONDS = 60.0
_LASTING_SECONDS = 5.0
"""Failures without a reply between that last this long are always reported, even soon after earlier ones."""
_LONG_PAUSE_SECONDS = 60.0
"""Pauses that the service requests are reported at once from this length on."""
_FAR_OFF = timedelta(days=3650)
OnWait = Callable[[int, float], Awaitable[None]]
"""Receives a wait: attempts made so far, and seconds until the next one; 0.0 once it begins."""
LEAST_SECONDS = 1.5
"""A shorter wait is part of any call."""
_LONGEST_IN_SECONDS = 120.0
_WAITING = "waiting for the service"


@dataclass(frozen=True, slots=True)
class LimiterPolicy:
    """The bounds of a limiter.

    Args:
        initial, maximum: concurrent calls at the beginning and at most.
        failures: failures in a row, over all callers, that open the circuit.
        cooldown, max_cooldown: seconds of the circuit's first cooldown, which doubles each time, and of its longest.
        max_pause: seconds of the longest pause that a service may request.
    """

    initial: int = 64
    maximum: int = 1024
    failures: int = 10
    cooldown: float = 5.0
    max_cooldown: float = 120.0
    max_pause: float = 12 * 3600.0

    @classmethod
    def within(cls, patience: float) -> LimiterPolicy:
        """Return the usual bounds, with rests that fit the patience.

        They are so short that a service is tried several times.

        Args:
            patience: seconds to wait for a service that does not answer.
        """
        usual = cls()
        longest = min(usual.max_cooldown, patience / 8)
        return replace(usual, cooldown=min(usual.cooldown, longest), max_cooldown=longest)


class AdaptiveLimiter:
    """Grants slots for calls. All callers share one event loop.

    Args:
        policy: its bounds.
        clock: seconds, for tests.
        time_left: seconds that the campaign may still run.
    """

    def __init__(
        self,
        policy: LimiterPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
        time_left: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self._policy = policy or LimiterPolicy()
        self._clock = clock
        self._limit = float(self._policy.initial)
        self._was_throttled = False
        self._time_left = time_left
        self._blocked_until = 0.0
        self._pause_until = float("-inf")
        self._paused_seconds = 0.0
        self._reduced_at = float("-inf")
        self._failures = 0
        self._probing = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.under_way = 0

    @property
    def limit(self) -> int:
        """Return how many calls may run now."""
        return 1 if self.is_open else int(self._limit)

    @property
    def is_open(self) -> bool:
        """Return whether the circuit is open.

        Then, after many failures, one call at a time tries the service.
        """
        return self._failures >= self._policy.failures

    def try_acquire(self) -> float | None:
        """Acquire a slot without waiting, as ``acquire`` does; None if none is free."""
        if self._waiting or not self._free():
            return None
        self.under_way += 1
        return self._clock()

    async def acquire(self) -> float:
        """Wait for a slot, first come first served, and return the time.

        Call ``release`` after it.

        Raises:
            ServicePausing: the service requests a pause that is longer than the campaign can wait.
        """
        if self._pause_is_too_long():
            raise self._pause_error()
        if self._waiting or not self._free():
            slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(slot)
            self._wake()
            try:
                await slot
            except asyncio.CancelledError:
                if slot.done() and not slot.cancelled() and slot.exception() is None:
                    self.release()  # the slot had been granted already
                elif slot in self._waiting:
                    self._waiting.remove(slot)
                raise
        else:
            self.under_way += 1
        return self._clock()

    def release(self) -> None:
        """Release the slot of a call, however it ended."""
        self.under_way -= 1
        self._wake()

    def record_success(self) -> None:
        """Record a success of the service."""
        self._failures = 0
        # Until a service throttles, the bound doubles in a round: 500 researchers cannot wait for one more at a time.
        more = 1 / self._limit if self._was_throttled else 1.0
        self._limit = min(self._limit + more, float(self._policy.maximum))

    @property
    def paused_seconds(self) -> float:
        """Return the seconds of all pauses so far that the service requested."""
        return self._paused_seconds - self.pause_left

    @property
    def pause_left(self) -> float:
        """Return the seconds until the end of the pause that the service requested."""
        return max(0.0, self._pause_until - self._clock())

    @property
    def blocked_seconds(self) -> float:
        """Return the seconds until the next call may start."""
        return max(0.0, self._blocked_until - self._clock())

    def record_throttling(self, entered: float) -> None:
        """Record that the service refused a call for its rate or for overload.

        Args:
            entered: the value of ``acquire`` for the refused call: if many are refused together, one halves the bound.
        """
        now = self._clock()
        self._was_throttled = True
        if entered > self._reduced_at:
            self._limit, self._reduced_at = max(self._limit / 2, 1.0), now

    def pause(self, seconds: float) -> None:
        """Pause all calls because the service requested it."""
        now = self._clock()
        until = now + seconds
        if until <= self._pause_until:
            return
        self._paused_seconds += until - max(now, self._pause_until)
        self._pause_until = until
        self._blocked_until = max(self._blocked_until, until)
        if self._pause_is_too_long():
            while self._waiting:
                slot = self._waiting.popleft()
                if not slot.done():
                    slot.set_exception(self._pause_error())

    def record_failure(self) -> None:
        """Record a failure of the service, or that it did not answer."""
        self._failures += 1
        if self.is_open:
            cooldown = self._policy.cooldown * 2.0 ** min(self._failures - self._policy.failures, 30)
            self._blocked_until = max(self._blocked_until, self._clock() + min(cooldown, self._policy.max_cooldown))

    def _free(self, now: float | None = None) -> bool:
        return self.under_way < self.limit and (self._clock() if now is None else now) >= self._blocked_until

    def _pause_is_too_long(self) -> bool:
        left = self._pause_until - self._clock()
        return left > 0 and left > min(self._time_left(), self._policy.max_pause)

    def _pause_error(self) -> ServicePausing:
        until = time_after(self._pause_until - self._clock())
        return ServicePausing(f"the service asks for a pause until {until}", "Resume the campaign then")

    def _wake(self) -> None:
        now = self._clock()  # read once: a pause that ends between two reads would leave no timer
        while self._waiting and self._free(now):
            slot = self._waiting.popleft()
            if not slot.done():
                self.under_way += 1
                slot.set_result(None)
        blocked = self._blocked_until - now
        if self._waiting and blocked > 0 and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(blocked, self._timer_ended)

    def _timer_ended(self) -> None:
        self._timer = None
        self._wake()


def _ignore(_: AnyEvent) -> None:
    return


class ServiceOutageMonitor:
    """Reports outages of a service: the first failure, then once a minute, recovery.

    It counts failed attempts in a row, over all callers of one service. Of failures that follow each other with replies
    between, one per minute is reported, and each that lasts.

    Args:
        service: its address or name, for people.
        notify: receives the events about its outages.
        clock: seconds, for tests.
    """

    def __init__(self, service: str, notify: EventSink = _ignore, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._notify = notify
        self._clock = clock
        self._began = 0.0
        self._reported_at = float("-inf")
        self._reported_until = float("-inf")
        self._reported = False
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

    def record_failure(self, error: GatewayError, seconds: float, requested_pause: float = 0.0) -> None:
        """Record a failed attempt.

        Args:
            seconds: until the next one, at the earliest.
            requested_pause: of it, the pause that the service requests.
        """
        now = self._clock()
        if self.tries == 0:
            self._began = now
        self.tries += 1
        self.error = error
        long_pause = requested_pause >= _LONG_PAUSE_SECONDS
        new_pause = long_pause and now + requested_pause > self._reported_until + _EVERY_SECONDS / 2
        lasting = not self._reported and now - self._began >= _LASTING_SECONDS
        if not new_pause and ((now - self._reported_at < _EVERY_SECONDS and not lasting) or now < self._reported_until):
            return
        self._reported_at, self._reported = now, True
        if long_pause:
            self._reported_until = now + requested_pause
        self._notify(
            ModelServiceUnavailable(
                service=self._service,
                cause=error.message,
                tries=self.tries,
                seconds=round(seconds, 1),
                until=time_after(requested_pause) if long_pause else "",
            )
        )

    def record_reply(self) -> None:
        """Record a reply."""
        self.answered_at = self._clock()
        if self.error is None:
            return
        tries, self.tries, self.error = self.tries, 0, None
        self._reported_until = float("-inf")
        if self._reported:
            self._reported = False
            seconds = round(self.answered_at - self._began, 1)
            self._notify(ModelServiceRecovered(service=self._service, tries=tries, seconds=seconds))
        self.on_recovery()


def time_after(seconds: float) -> str:
    """Return the time of day after some seconds, for people."""
    off = timedelta(seconds=min(seconds, _FAR_OFF.total_seconds()))
    return (datetime.now(UTC) + off).strftime("%Y-%m-%d %H:%M UTC")


async def ignore_wait(_tries: int, _seconds: float) -> None:
    """Ignore the waits of a call."""


class WaitNotice:
    """Notifies about the waits of one call, once each.

    A wait that is prolonged is notified again.

    Args:
        notify: receives the waits.
        blocked: seconds until any call to the service may start.
        clock: seconds, for tests.
    """

    def __init__(
        self, notify: OnWait, blocked: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._notify = notify
        self._blocked_seconds = blocked
        self._clock = clock
        self._until: float | None = None

    async def begins(self, tries: int, seconds: float = 0.0) -> None:
        """Note that the call may have to wait.

        Args:
            tries: attempts made so far.
            seconds: its own wait until the next.
        """
        seconds = max(seconds, self._blocked_seconds())
        until = self._clock() + seconds
        if seconds >= LEAST_SECONDS and (self._until is None or until > self._until + 1.0):
            self._until = until
            await self._notify(tries, seconds)

    async def ends(self, tries: int) -> None:
        """Note that the next attempt begins."""
        if self._until is not None:
            self._until = None
            await self._notify(tries, 0.0)


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
