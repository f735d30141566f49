"""When a refused call is tried again."""

from __future__ import annotations

import time

from aar.llm.api_errors import (
    RetryPolicy,
    retry_after_seconds,
)


def test_delays_grow_and_stop_at_the_deadline() -> None:
    policy = RetryPolicy(deadline=100, first=1, longest=8)
    for attempt, most in ((1, 1), (2, 2), (3, 4), (9, 8)):
        delay = policy.delay(attempt, 0)
        assert delay is not None
        assert most / 2 <= delay <= most
    assert policy.delay(9, 99) is None
    assert policy.delay(9, 99, requested_pause=200) is not None


def test_retry_after_in_all_its_forms() -> None:
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert retry_after_seconds({"retry-after": "7"}) == 7
    assert retry_after_seconds({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert 90 < (retry_after_seconds({"retry-after": later}) or 0) <= 100
    for bad in ("soon", "-4", "nan", "inf", ""):
        assert retry_after_seconds({"retry-after": bad}) is None
    assert retry_after_seconds({}) is None
