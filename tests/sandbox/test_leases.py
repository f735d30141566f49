"""Leases: exclusive where they say so, fair, and back when their holder dies."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aar.errors import UsageError
from aar.sandbox.leases import Lease, Leases

from ..waiting import until


class NotingLeases(Leases):
    """Counts how often each owner tried to get what it waits for."""

    def __init__(self, cores: Sequence[int], gpus: Sequence[str], lease_file: Path) -> None:
        super().__init__(cores, gpus, lease_file=lease_file)
        self.tries: Counter[str] = Counter()

    def _try(self, entry: dict[str, Any]) -> Lease | None:
        self.tries[entry["owner"]] += 1
        return super()._try(entry)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """The file that the leases of a test are in."""
    return tmp_path / "leases.json"


def test_scoring_runs_have_cores_that_no_researcher_gets(book: Path) -> None:
    leases = Leases(cores=range(8), gpus=[], lease_file=book)

    async def whole() -> None:
        async with (
            leases.lease_for_scoring() as one,
            leases.lease_for_scoring() as two,
            leases.lease_for_researcher("r1") as three,
        ):
            assert len({*one.cores, *two.cores}) == 2
            assert not {*one.cores, *two.cores} & {*three.cores}
            assert three.cores == leases.shared_cores == (0, 1, 2, 3, 4, 5)

    asyncio.run(whole())


def test_one_core_is_shared_by_all(book: Path) -> None:
    leases = Leases(cores=[3], gpus=[], lease_file=book)

    async def whole() -> None:
        async with leases.lease_for_scoring() as one, leases.lease_for_researcher("r1") as two:
            assert (one.cores, two.cores) == ((3,), (3,))

    asyncio.run(whole())


def test_a_gpu_has_one_holder_and_scoring_is_never_starved(book: Path) -> None:
    leases = Leases(cores=range(2), gpus=["0"], lease_file=book)
    order: list[str] = []
    hungry_ones = {"r1", "r2", "r3"}

    def waiting() -> int:
        return len(json.loads(book.read_text())["waiting"])

    async def hungry(name: str) -> None:
        for _ in range(4):
            async with leases.lease_for_researcher(name, gpus=1) as lease:
                assert lease.gpus == ("0",)
                order.append(name)
                await until(lambda: waiting() == len(hungry_ones) - 1)  # whoever had it asks again
        hungry_ones.remove(name)

    async def score() -> None:
        async with leases.lease_for_scoring(gpus=1):
            order.append("scored")

    async def whole() -> None:
        async with leases.lease_for_researcher("r0", gpus=1):
            tasks = [asyncio.create_task(hungry(name)) for name in sorted(hungry_ones)]
            await until(lambda: waiting() == 3)
            tasks.append(asyncio.create_task(score()))
            await until(lambda: waiting() == 4)
        await asyncio.gather(*tasks)

    asyncio.run(whole())
    assert order[0] == "scored"
    assert sorted(order[1:4]) == ["r1", "r2", "r3"]
    assert [order.count(name) for name in ("r1", "r2", "r3")] == [4, 4, 4]


def test_one_gpu_of_several_is_kept_for_scoring(book: Path) -> None:
    leases = NotingLeases(cores=range(4), gpus=["0", "1"], lease_file=book)

    async def whole() -> None:
        with pytest.raises(UsageError):
            async with leases.lease_for_researcher("r1", gpus=2):
                pass
        async with leases.lease_for_researcher("r1", gpus=1):
            waiting = asyncio.create_task(_take(leases, "r2"))
            async with leases.lease_for_scoring(gpus=1):
                pass
            tried = leases.tries["r2"]
            await until(lambda: leases.tries["r2"] >= tried + 2)
            assert not waiting.done()
        assert len((await waiting).gpus) == 1

    asyncio.run(whole())


def test_a_cancelled_wait_leaves_nothing_in_the_book(book: Path) -> None:
    leases = NotingLeases(cores=range(4), gpus=["0"], lease_file=book)

    async def whole() -> None:
        async with leases.lease_for_researcher("r1", gpus=1):
            waiting = asyncio.create_task(_take(leases, "r2"))
            await until(lambda: leases.tries["r2"])
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        async with leases.lease_for_researcher("r3", gpus=1):
            pass

    asyncio.run(whole())
    assert '"waiting": [], "held": []' in book.read_text()


def test_a_killed_holder_s_lease_comes_back(book: Path) -> None:
    code = (
        "import asyncio, sys, pathlib\n"
        "from aar.sandbox.leases import Leases\n"
        "async def hold():\n"
        f"    leases = Leases(cores=range(2), gpus=['0'], lease_file=pathlib.Path({str(book)!r}))\n"
        "    async with leases.lease_for_researcher('r1', gpus=1):\n"
        "        print('held', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(hold())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    leases = Leases(cores=range(2), gpus=["0"], lease_file=book)
    assert asyncio.run(_take(leases, "r2")).gpus == ("0",)


async def _take(leases: Leases, owner: str) -> Lease:
    async with leases.lease_for_researcher(owner, gpus=1) as lease:
        return lease


def test_the_loop_runs_on_while_another_process_holds_the_book(book: Path) -> None:
    leases = Leases(cores=range(4), gpus=[], lease_file=book)
    turns = 0

    async def whole() -> None:
        nonlocal turns
        book.parent.mkdir(exist_ok=True)
        with book.with_suffix(".lock").open("w") as lock:
            held = leases.lease_for_scoring()
            await held.__aenter__()
            fcntl.flock(lock, fcntl.LOCK_EX)
            giving_back = asyncio.create_task(held.__aexit__(None, None, None))
            for _ in range(20):
                await asyncio.sleep(0.001)
                turns += 1
            assert not giving_back.done()
            giving_back.cancel()
            await asyncio.sleep(0.01)
            assert not giving_back.done()
            fcntl.flock(lock, fcntl.LOCK_UN)
            await asyncio.gather(giving_back, return_exceptions=True)

    asyncio.run(whole())
    assert turns == 20
    assert json.loads(book.read_text())["held"] == []


def test_the_book_does_not_grow_with_every_owner(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book.write_text('{"waiting": [], "held": [], "gpu_seconds": {"from an older version": 5.0}}')
    leases = Leases(cores=range(4), gpus=["0", "1"], lease_file=book)

    async def whole() -> None:
        async with leases.lease_for_scoring(gpus=1, owner="a campaign"), leases.lease_for_researcher("without a GPU"):
            pass
        await _take(leases, "r1")

    asyncio.run(whole())
    assert list(json.loads(book.read_text())["gpu_seconds"]) == ["r1"]
    monkeypatch.setattr("aar.sandbox.leases._REMEMBERED_SECONDS", 0.0)
    asyncio.run(whole())
    assert json.loads(book.read_text())["gpu_seconds"] == {}
