"""Calls in processes of their own: what they return and raise, and what becomes of those that overrun."""

from __future__ import annotations

import ast
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from aar.errors import BoundExceeded, UsageError
from aar.workers import worker_pool
from aar.workers.worker_pool import run_in_worker, run_in_worker_sync

MIB = 1024**2


def refuse(what: str) -> None:
    raise UsageError(f"{what} is wrong", "Mend it")


def hold(count: int) -> int:
    return len(bytearray(count))


_kept: list[bytearray] = []


def keep(count: int) -> int:
    _kept.append(bytearray(count))
    return os.getpid()


def end_itself(number: int) -> None:
    os.kill(os.getpid(), number)


def sleep_and_tell(path: str, seconds: float) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)


def raise_unpicklable() -> None:
    class Odd(Exception):
        pass

    raise Odd("cannot be found by name")


def secret(name: str) -> str | None:
    return os.environ.get(name)


def test_a_call_returns_and_raises_as_the_function_does_and_one_process_serves_many() -> None:
    assert ast.dump(run_in_worker_sync(ast.parse, "a = 1")) == ast.dump(ast.parse("a = 1"))
    with pytest.raises(UsageError, match="the name is wrong") as caught:
        run_in_worker_sync(refuse, "the name")
    assert caught.value.remedy == "Mend it"
    assert run_in_worker_sync(os.getpid) == run_in_worker_sync(os.getpid) != os.getpid()


def test_a_call_that_takes_too_long_is_killed_and_the_next_one_has_a_process() -> None:
    with pytest.raises(BoundExceeded, match=r"sleep took longer than 0\.3 s") as caught:
        run_in_worker_sync(time.sleep, 60, seconds=0.3)
    assert caught.value.cause == "time"
    assert run_in_worker_sync(len, "abc") == 3


def test_memory_is_bounded_by_call_and_not_for_ever() -> None:
    assert run_in_worker_sync(hold, 200 * MIB) == 200 * MIB
    with pytest.raises(BoundExceeded) as caught:
        run_in_worker_sync(hold, 200 * MIB, memory=50 * MIB)
    assert caught.value.cause == "memory"
    assert run_in_worker_sync(hold, 200 * MIB) == 200 * MIB


def test_what_calls_leave_behind_does_not_add_up() -> None:
    worker_pool._processes.close()
    first = run_in_worker_sync(keep, 100 * MIB)
    assert [run_in_worker_sync(keep, 100 * MIB), run_in_worker_sync(keep, 100 * MIB)] == [first, first]
    assert run_in_worker_sync(os.getpid) != first
    assert not Path("/proc", str(first)).exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_process_that_dies_is_an_error_and_the_next_call_is_served(number: int) -> None:
    with pytest.raises(BoundExceeded) as caught:
        run_in_worker_sync(end_itself, int(number))
    assert caught.value.cause == "died"
    assert run_in_worker_sync(len, "abc") == 3


def test_a_process_that_was_killed_while_it_waited_is_replaced() -> None:
    first = run_in_worker_sync(os.getpid)
    os.kill(first, signal.SIGKILL)
    while worker_pool._processes._idle[-1].alive():
        time.sleep(0.01)
    assert run_in_worker_sync(os.getpid) != first


def test_an_error_that_cannot_be_carried_over_is_named() -> None:
    with pytest.raises(BoundExceeded, match="Odd"):
        run_in_worker_sync(raise_unpicklable)


def test_no_key_reaches_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-api03-of-the-test")
    worker_pool._processes.close()
    assert run_in_worker_sync(secret, "ANTHROPIC_API_KEY") is None
    assert run_in_worker_sync(secret, "PATH") == os.environ["PATH"]


@pytest.mark.anyio
async def test_a_cancelled_call_has_its_process_killed(tmp_path: Path) -> None:
    told = tmp_path / "pid"

    def wait_until(holds: Callable[[], bool]) -> None:
        until = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < until
            time.sleep(0.02)

    async with anyio.create_task_group() as group:
        group.start_soon(run_in_worker, sleep_and_tell, str(told), 600.0)
        await anyio.to_thread.run_sync(wait_until, lambda: told.exists() and told.read_text() != "")
        group.cancel_scope.cancel()
    process = Path("/proc", told.read_text())
    await anyio.to_thread.run_sync(wait_until, lambda: not process.exists())


@pytest.mark.anyio
async def test_the_event_loop_runs_on_while_a_call_computes() -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as group:
        group.start_soon(beat)
        await run_in_worker(sum, range(20_000_000))
        group.cancel_scope.cancel()
    assert beats > 5
