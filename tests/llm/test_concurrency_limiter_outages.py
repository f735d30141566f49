"""Services that are away: who waits for them, and what people are told."""

from __future__ import annotations

import asyncio
import re

import pytest
from pydantic import SecretStr

from aar.errors import ModelUnavailable
from aar.events import AnyEvent
from aar.llm.api_errors import (
    RetryPolicy,
    ServiceUnreachable,
)
from aar.llm.concurrency_limiter import AdaptiveLimiter, LimiterPolicy, ServiceOutageMonitor
from aar.llm.gateway import Gateway

from ..researcher.conftest import KEY
from .test_gateway import request

pytestmark = pytest.mark.anyio


async def test_nobody_waits_in_line_beyond_their_patience_for_a_service_that_is_away() -> None:
    pacer = AdaptiveLimiter(LimiterPolicy(failures=4, cooldown=60.0))
    gateway = Gateway(
        "http://127.0.0.1:1", SecretStr(KEY), policy=RetryPolicy(deadline=1.0, first=0.01, longest=0.1), limiter=pacer
    )
    await gateway.warm_up()
    await gateway._opened()
    ended = asyncio.gather(*(gateway.complete(request()) for _ in range(4)), return_exceptions=True)
    try:
        errors = await asyncio.wait_for(ended, 20)
    finally:
        await gateway.close()
    assert pacer.is_open
    assert pacer.under_way == 0
    assert [type(error) for error in errors] == [ServiceUnreachable] * 4
    assert all("cannot reach" in str(error) for error in errors)


async def test_an_outage_is_told_at_its_first_failure_once_a_minute_and_at_its_end() -> None:
    told: list[AnyEvent] = []
    now = [1000.0]
    watch = ServiceOutageMonitor("http://s", told.append, lambda: now[0])
    error = ModelUnavailable("cannot reach http://s")
    for _ in range(130):
        watch.record_failure(error, 40)
        now[0] += 1
    assert [event.summary() for event in told] == [
        f"cannot reach http://s; try {tries}, next in 40 s" for tries in (1, 61, 121)
    ]
    watch.record_failure(error, 3600, 3600)
    now[0] += 1
    watch.record_failure(error, 3599, 3599)
    watch.record_reply()
    assert [event.kind for event in told[3:]] == ["model_service_unavailable", "model_service_recovered"]
    assert re.search(r"asks for a pause until \d{4}-.* UTC", told[3].summary())
    assert (watch.has_ever_answered, watch.error, watch.tries) == (True, None, 0)


async def test_an_outage_that_lasts_is_told_however_lately_another_was() -> None:
    told: list[AnyEvent] = []
    now = [1000.0]
    watch = ServiceOutageMonitor("http://s", told.append, lambda: now[0])
    watch.record_failure(ModelUnavailable("the service answered 500"), 1)
    watch.record_reply()
    now[0] += 20
    for _ in range(15):
        watch.record_failure(ModelUnavailable("cannot reach http://s"), 1)
        now[0] += 1
    watch.record_reply()
    assert [event.summary() for event in told[2:]] == [
        "cannot reach http://s; try 6, next in 1 s",
        "http://s answers again, after 15 failed tries in 15 s",
    ]
    watch.record_failure(ModelUnavailable("the service answered 500"), 1)
    now[0] += 1
    watch.record_failure(ModelUnavailable("the service answered 500"), 1)
    assert len(told) == 4
