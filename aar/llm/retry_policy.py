"""When a failed model call is tried again, and how long to wait before that."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

_RETRIED = frozenset({408, 409, 429})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How stubborn the gateway is.

    Args:
        deadline: seconds from the first attempt after which no further one starts; pauses that the service asked for
            do not count.
        first: seconds of the first wait; each further one doubles.
        longest: seconds of the longest wait that the service did not ask for.
    """

    deadline: float = 900.0
    first: float = 1.0
    longest: float = 60.0

    def delay(self, attempt: int, elapsed: float, asked: float = 0.0) -> float | None:
        """Seconds to wait before the next attempt; None when the deadline leaves no room for one.

        Args:
            attempt: number of attempts made, from 1.
            elapsed: seconds since the first attempt.
            asked: seconds of a pause that the service asks for; the caller sees to it that nobody tries before.
        """
        wait = min(self.longest, self.first * 2.0 ** min(attempt - 1, 30)) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, no secret
        return wait if elapsed + wait <= self.deadline or asked >= wait else None


def is_retryable(status: int) -> bool:
    """Whether a status is worth another attempt: timeouts, conflicts, rate limits, and every failure of the server."""
    return status in _RETRIED or status >= 500


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """What the service asked for: ``retry-after-ms``, or ``retry-after`` in seconds or as an HTTP date; None if
    absent, malformed or in the past."""
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        elif "retry-after" in headers:
            value = headers["retry-after"]
            try:
                seconds = float(value)
            except ValueError:
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < float("inf") else None
