"""Clean-up that is tried and told of, and decides over nothing."""

from __future__ import annotations

import asyncio

import pytest

from aar.concurrency import best_effort, suppress_and_log


def test_an_error_is_told_and_not_raised() -> None:
    told: list[Exception] = []

    async def fails() -> None:
        raise OSError(28, "No space left on device")

    async def works() -> None:
        return None

    async def scene() -> tuple[bool, bool]:
        return await best_effort(fails(), told.append), await best_effort(works(), told.append)

    assert asyncio.run(scene()) == (False, True)
    assert [type(each) for each in told] == [OSError]


def test_what_takes_too_long_is_cancelled_and_not_waited_for() -> None:
    told: list[Exception] = []

    async def scene() -> None:
        stubborn = asyncio.Event()

        async def lingers() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await stubborn.wait()

        assert not await best_effort(lingers(), told.append, seconds=0.05)
        stubborn.set()

    asyncio.run(scene())
    assert [str(each) for each in told] == ["it did not finish within 0.05 s"]


def test_whoever_waits_may_be_cancelled_and_the_step_goes_on() -> None:
    async def scene() -> bool:
        go, done = asyncio.Event(), asyncio.Event()

        async def step() -> None:
            await go.wait()
            done.set()
            raise OSError("nobody listens")

        waiting = asyncio.create_task(best_effort(step(), lambda _: None))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        go.set()
        async with asyncio.timeout(10):
            await done.wait()
        return True

    assert asyncio.run(scene())


def test_a_block_of_clean_up_hides_no_error_that_came_before_it() -> None:
    def build() -> None:
        try:
            raise ValueError("it did not build")
        finally:
            with suppress_and_log("what is left could not be removed"):
                raise OSError("no connection")

    with pytest.raises(ValueError, match="it did not build"):
        build()
