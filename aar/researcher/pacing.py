"""How many calls of one key may be under way, shared by all researchers that use it.

The bound adapts: it doubles with every round of successes until the service first says that it is crowded ("slow
start", Jacobson 1988), halves each time it says so, and grows by about one a round from then on (additive increase,
multiplicative decrease; Chiu & Jain 1989). A Retry-After holds up everybody, not only the caller who was told. A
circuit breaker (Nygard 2007) stands over it: after many failures in a row all callers wait, and one at a time is let
through to see whether the service is back.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PacePolicy:
    """Bounds of a pacer.

    Args:
        first, most: calls under way at the beginning and at most.
        failures: failures in a row, over all callers, that open the circuit.
        rest, longest_rest: seconds of the circuit's first rest, which doubles each time, and of its longest.
    """

    first: int = 64
    most: int = 1024
    failures: int = 10
    rest: float = 5.0
    longest_rest: float = 120.0


class Pacer:
    """Hands out leave to call. All callers share one event loop.

    Args:
        policy: its bounds.
        clock: seconds, for tests.
    """

    def __init__(self, policy: PacePolicy | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy or PacePolicy()
        self._clock = clock
        self._limit = float(self._policy.first)
        self._was_crowded = False
        self._held_until = 0.0
        self._eased_at = float("-inf")
        self._failures = 0
        self._probing = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.under_way = 0

    @property
    def limit(self) -> int:
        """How many calls may be under way now."""
        return 1 if self.open else int(self._limit)

    @property
    def open(self) -> bool:
        """Whether the circuit is open: the service failed so often in a row that one call at a time tries it."""
        return self._failures >= self._policy.failures

    def enter_at_once(self) -> float | None:
        """Leave to call if nobody has to wait for it now, as ``enter`` gives it; else None."""
        if self._waiting or not self._free():
            return None
        self.under_way += 1
        return self._clock()

    async def enter(self) -> float:
        """Wait for leave to call, first come first served; follow it by ``leave``. Returns when it was given."""
        if self._waiting or not self._free():
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self._wake()
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.leave()  # leave had been given already
                else:
                    self._waiting.remove(turn)
                raise
        else:
            self.under_way += 1
        return self._clock()

    def leave(self) -> None:
        """The call is over, however it ended."""
        self.under_way -= 1
        self._wake()

    def succeeded(self) -> None:
        """The service answered."""
        self._failures = 0
        more = 1 / self._limit if self._was_crowded else 1.0
        self._limit = min(self._limit + more, float(self._policy.most))

    def crowded(self, retry_after: float | None, entered: float) -> None:
        """The service refused for rate or overload.

        Args:
            retry_after: seconds that it asked to wait.
            entered: what ``enter`` returned for the refused call: of a crowd refused together, one halves the bound.
        """
        now = self._clock()
        self._was_crowded = True
        if entered > self._eased_at:
            self._limit, self._eased_at = max(self._limit / 2, 1.0), now
        if retry_after is not None:
            self._held_until = max(self._held_until, now + min(retry_after, self._policy.longest_rest))

    def failed(self) -> None:
        """The service failed, or nobody answered."""
        self._failures += 1
        if self.open:
            rest = self._policy.rest * 2.0 ** (self._failures - self._policy.failures)
            self._held_until = max(self._held_until, self._clock() + min(rest, self._policy.longest_rest))

    def _free(self) -> bool:
        return self.under_way < self.limit and self._clock() >= self._held_until

    def _wake(self) -> None:
        while self._waiting and self._free():
            turn = self._waiting.popleft()
            if not turn.done():
                self.under_way += 1
                turn.set_result(None)
        held = self._held_until - self._clock()
        if self._waiting and held > 0 and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(held, self._rung)

    def _rung(self) -> None:
        self._timer = None
        self._wake()
