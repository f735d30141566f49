"""The retry policy for failed model calls: which errors, and which pauses."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

_RETRIED = frozenset({408, 409, 429})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The limits of retries.

    Args:
        deadline: seconds from the first attempt after which no further one starts; pauses that the service requested
            do not count.
        first: seconds of the first wait; each further one doubles.
        longest: seconds of the longest wait without a request of the service.
    """

    deadline: float = 900.0
    first: float = 1.0
    longest: float = 60.0

    def delay(self, attempt: int, elapsed: float, asked: float = 0.0) -> float | None:
        """Return the seconds to wait before the next attempt.

        It is None if the deadline leaves no room for one.

        Args:
            attempt: number of attempts made, from 1.
            elapsed: seconds since the first attempt.
            asked: seconds of a pause that the service requests; the caller ensures that no attempt starts earlier.
        """
        wait = min(self.longest, self.first * 2.0 ** min(attempt - 1, 30)) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, no secret
        return wait if elapsed + wait <= self.deadline or asked >= wait else None


def is_retryable(status: int) -> bool:
    """Return whether a status deserves another attempt: timeouts, conflicts, rate limits, server errors."""
    return status in _RETRIED or status >= 500


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the pause that the service requested, in seconds.

    It is None if absent, malformed or in the past.

    It comes as ``retry-after-ms``, or as ``retry-after`` in seconds or as an HTTP date.
    """
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
