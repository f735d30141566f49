"""Rate limits of clients: token buckets by credential, and by address for unknown clients.

Behind a proxy all people share one address with any guesser, so the use of that address by unknown clients never counts
against a known token or login.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from aar.errors import TooMany

_MOST_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A burst size and a long-run rate per second."""

    burst: int
    per_second: float


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The rate limits of one server.

    Args:
        login: failed logins, by address.
        refused: requests with an unknown token, by address.
        address: writes of unknown clients, by address.
        credential: writes by token or login.
        noted: refusals in the audit log, by token or login, and of all unknown clients together.
    """

    login: RateLimit = RateLimit(10, 1 / 6)
    refused: RateLimit = RateLimit(30, 0.5)
    address: RateLimit = RateLimit(240, 8)
    credential: RateLimit = RateLimit(120, 4)
    noted: RateLimit = RateLimit(60, 0.2)


class TokenBuckets:
    """Token buckets by kind and key.

    Args:
        clock: seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()

    def take(self, kind: str, key: str, rate: RateLimit) -> None:
        """Takes one token. Raises TooMany if none is left."""
        self.check(kind, key, rate)
        left, now = self._level(kind, key, rate), self._clock()
        self._left[kind, key] = (left - 1, now)
        self._left.move_to_end((kind, key))
        while len(self._left) > _MOST_KEYS:
            self._left.popitem(last=False)

    def check(self, kind: str, key: str, rate: RateLimit) -> None:
        """Checks for a token without taking it. Raises TooMany if none is left."""
        left = self._level(kind, key, rate)
        if left < 1:
            allowed = f"{rate.burst} at once and {rate.per_second * 60:g} a minute"
            raise TooMany(f"too many requests: {allowed} are allowed", (1 - left) / rate.per_second)

    def _level(self, kind: str, key: str, rate: RateLimit) -> float:
        left, then = self._left.get((kind, key), (float(rate.burst), self._clock()))
        return min(float(rate.burst), left + (self._clock() - then) * rate.per_second)
