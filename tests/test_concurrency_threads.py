"""Steps in threads that are waited for even when nobody wants their result any more."""

from __future__ import annotations

import asyncio
import threading

import pytest

from aar.concurrency import run_to_completion

pytestmark = pytest.mark.anyio


async def test_results_and_errors_come_through() -> None:
    assert await run_to_completion(lambda: int("7")) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await run_to_completion(lambda: int("seven"))


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_step_has_ended_when_the_cancellation_arrives(fails: bool) -> None:
    begun, may_end, ended, undone = (threading.Event() for _ in range(4))

    def step() -> None:
        begun.set()
        may_end.wait(30)
        ended.set()
        if fails:
            raise OSError("too late to matter")

    task = asyncio.ensure_future(run_to_completion(step, undone.set))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert undone.is_set() is not fails
