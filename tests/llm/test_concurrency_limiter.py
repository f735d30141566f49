"""How many calls may be under way: who waits, who goes first, and what the service's refusals change."""

from __future__ import annotations

import asyncio

import pytest

from aar.llm.api_errors import ServicePausing
from aar.llm.concurrency_limiter import AdaptiveLimiter, LimiterPolicy

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def settled(*tasks: asyncio.Task[float]) -> list[bool]:
    for _ in range(3):
        await asyncio.sleep(0)
    return [task.done() for task in tasks]


async def test_no_more_than_the_bound_and_first_come_first_served() -> None:
    pacer = AdaptiveLimiter(LimiterPolicy(initial=2))
    tasks = [asyncio.create_task(pacer.acquire()) for _ in range(4)]
    assert await settled(*tasks) == [True, True, False, False]
    pacer.release()
    assert await settled(*tasks) == [True, True, True, False]
    pacer.release()
    assert await settled(*tasks) == [True] * 4
    assert pacer.under_way == 2


async def test_one_who_gives_up_waiting_takes_no_place() -> None:
    pacer = AdaptiveLimiter(LimiterPolicy(initial=1))
    await pacer.acquire()
    impatient, patient = asyncio.create_task(pacer.acquire()), asyncio.create_task(pacer.acquire())
    await settled(impatient, patient)
    impatient.cancel()
    await settled(impatient)
    pacer.release()
    assert await settled(patient) == [True]
    assert pacer.under_way == 1


async def test_leave_given_to_one_who_gives_up_at_that_moment_is_passed_on() -> None:
    pacer = AdaptiveLimiter(LimiterPolicy(initial=1))
    await pacer.acquire()
    late, patient = asyncio.create_task(pacer.acquire()), asyncio.create_task(pacer.acquire())
    await settled(late, patient)
    pacer.release()
    late.cancel()
    assert (await settled(late, patient))[1]
    assert pacer.under_way == 1


async def test_a_crowd_refused_together_halves_the_bound_once() -> None:
    clock = Clock()
    pacer = AdaptiveLimiter(LimiterPolicy(initial=16), clock)
    entered = [await pacer.acquire() for _ in range(16)]
    clock.now += 1
    for moment in entered:
        pacer.record_throttling(moment)
        pacer.release()
    assert pacer.limit == 8
    clock.now += 1
    later = await pacer.acquire()
    clock.now += 1
    pacer.record_throttling(later)
    assert pacer.limit == 4


async def test_the_bound_doubles_in_a_round_until_the_service_is_crowded_and_then_grows_by_one() -> None:
    pacer = AdaptiveLimiter(LimiterPolicy(initial=4, maximum=9))
    for _ in range(4):
        pacer.record_success()
    assert pacer.limit == 8
    entered = await pacer.acquire()
    pacer.record_throttling(entered)
    assert pacer.limit == 4
    for _ in range(5):
        pacer.record_success()
    assert pacer.limit == 5
    for _ in range(100):
        pacer.record_success()
    assert pacer.limit == 9


async def test_retry_after_holds_up_everybody() -> None:
    pacer = AdaptiveLimiter()
    entered = await pacer.acquire()
    pacer.record_throttling(entered)
    pacer.pause(0.05)
    pacer.release()
    tasks = [asyncio.create_task(pacer.acquire()) for _ in range(3)]
    assert await settled(*tasks) == [False] * 3
    await asyncio.gather(*tasks)
    assert pacer.under_way == 3


@pytest.mark.parametrize("readings", range(1, 9))
async def test_a_pause_that_ends_while_it_is_looked_at_keeps_nobody_waiting(readings: int) -> None:
    class Hurried(Clock):
        def __call__(self) -> float:
            self.now += 0.01
            return self.now

    pacer = AdaptiveLimiter(clock=Hurried())
    pacer.pause(0.01 * readings + 0.005)
    await asyncio.wait_for(pacer.acquire(), 10)
    assert pacer.under_way == 1


async def test_an_open_circuit_lets_one_at_a_time_try_and_closes_when_it_is_answered() -> None:
    pacer = AdaptiveLimiter(LimiterPolicy(initial=8, failures=3, cooldown=0.01, max_cooldown=0.02))
    for _ in range(3):
        await pacer.acquire()
        pacer.record_failure()
        pacer.release()
    assert pacer.is_open
    tasks = [asyncio.create_task(pacer.acquire()) for _ in range(3)]
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert (len(done), len(waiting)) == (1, 2)
    pacer.record_success()
    pacer.release()
    await asyncio.gather(*tasks)
    assert not pacer.is_open
    assert pacer.under_way == 2


async def test_a_pause_beyond_the_campaigns_hours_is_waited_for_by_nobody() -> None:
    clock = Clock()
    pacer = AdaptiveLimiter(LimiterPolicy(initial=1), clock, time_left=lambda: 100.0)
    await pacer.acquire()
    waiting = asyncio.create_task(pacer.acquire())
    await asyncio.sleep(0)
    pacer.pause(90)
    clock.now += 30
    assert (await settled(waiting), pacer.paused_seconds) == ([False], 30)
    pacer.pause(3600)
    for asking in (waiting, pacer.acquire()):
        with pytest.raises(ServicePausing, match=r"asks for a pause until .* UTC"):
            await asking
    clock.now += 3600
    pacer.release()
    assert pacer.try_acquire() is not None


def test_a_service_that_is_away_is_tried_several_times_while_patience_lasts() -> None:
    clock = Clock()
    for patience in (24.0, 900.0, 86_400.0):
        pacer = AdaptiveLimiter(LimiterPolicy.within(patience), clock)
        for _ in range(60):
            pacer.record_failure()
        assert pacer.is_open
        assert 0 < pacer.blocked_seconds <= min(120.0, patience / 8)
