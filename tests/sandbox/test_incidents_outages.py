"""A backend that is away is waited for, and said once a minute, whoever waits; nothing else is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aar.errors import BackendAway, SandboxUnavailable
from aar.sandbox import incidents
from aar.sandbox.incidents import BackendOutageMonitor


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "_SHORTEST_PAUSE", 0.001)
    monkeypatch.setattr(incidents, "_LONGEST_PAUSE", 0.002)


def away(times: int) -> Callable[[], Awaitable[str]]:
    """Something that works once its backend did not answer so often."""
    left = [times]

    async def work() -> str:
        if left[0]:
            left[0] -= 1
            raise BackendAway("the engine does not answer")
        return "done"

    return work


def test_it_goes_on_once_the_backend_answers_and_all_who_wait_are_told_of_as_one() -> None:
    told: list[str] = []
    watch = BackendOutageMonitor(60, lambda error, then: told.append(f"{error}: {then}"))

    async def scene() -> list[str]:
        return await asyncio.gather(*(watch.run_when_up(away(times)) for times in (0, 7, 7, 7)))

    assert asyncio.run(scene()) == ["done"] * 4
    assert told == [
        "the engine does not answer: try 1, next in 0 s",
        "the engine does not answer: answers again after 0 s",
    ]
    assert watch._last is None


def test_it_is_told_again_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(incidents, "monotonic", lambda: clock[0])
    told: list[str] = []

    async def work() -> None:
        clock[0] += 25
        if clock[0] < 200:
            raise BackendAway("away")

    asyncio.run(BackendOutageMonitor(900, lambda _, then: told.append(then)).run_when_up(work))
    assert [each.split(",")[0] for each in told] == ["try 1", "try 4", "try 7", "answers again after 175 s"]


def test_patience_ends() -> None:
    told: list[str] = []
    with pytest.raises(BackendAway, match="does not answer"):
        asyncio.run(BackendOutageMonitor(0.02, lambda _, then: told.append(then)).run_when_up(away(10_000)))
    assert told[-1] == "given up"


def test_a_wait_that_is_asked_to_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "_SHORTEST_PAUSE", 60.0)
    monkeypatch.setattr(incidents, "_LONGEST_PAUSE", 60.0)

    async def scene() -> None:
        stop = asyncio.Event()
        waiting = asyncio.create_task(BackendOutageMonitor(600).run_when_up(away(10_000), stop))
        await asyncio.sleep(0)
        stop.set()
        with pytest.raises(BackendAway):
            await waiting

    asyncio.run(asyncio.wait_for(scene(), 20))


@pytest.mark.parametrize("error", [SandboxUnavailable("the image is missing"), RuntimeError("x")])
def test_what_waiting_does_not_mend_is_not_waited_for(error: Exception) -> None:
    tried: list[int] = []

    async def work() -> None:
        tried.append(1)
        raise error

    with pytest.raises(type(error)):
        asyncio.run(BackendOutageMonitor(600).run_when_up(work))
    assert tried == [1]
