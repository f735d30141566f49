"""When the sandbox, not the method, is at fault; and when it is the method after all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count as count_from
from typing import Any

import pytest

from aar.errors import BackendAway, DiskFull, SandboxError, SandboxGone
from aar.problems.protocol import Problem, Task
from aar.sandbox import incidents
from aar.sandbox.incidents import BackendOutageMonitor
from aar.sandbox.protocol import Availability, Sandbox, SandboxBackend, SandboxRow, SandboxSpec
from aar.scoring.cleanroom import scoring_run
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.scoring.cleanroom.scoring_run import run_with_retries
from aar.scoring.results.verdict_messages import RunFailure

from ..conftest import Desk

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

GOOD = "import coinlab, numpy as np\ngiven = coinlab.arguments()\nnp.save(given.out, coinlab.noisy(given))\n"


class FailingBackend:
    """A real backend whose first sandboxes fail: to start, or once their first command ran."""

    name = "failing"

    def __init__(self, inner: SandboxBackend, *, starts: int = 0, losses: int = 0, away: int = 0) -> None:
        self._inner = inner
        self.starts, self.losses, self.away = starts, losses, away
        self.made = 0

    async def create(self, spec: SandboxSpec) -> Sandbox:
        if self.away and self.made:
            self.away -= 1
            raise BackendAway("the engine does not answer")
        if self.starts:
            self.starts -= 1
            raise SandboxError("no room for a sandbox")
        self.made += 1
        sandbox = await self._inner.create(spec)
        # A method's sandbox has mounts; the probe's has none.
        if self.losses and spec.mounts:
            self.losses -= 1
            return Losing(sandbox)
        return sandbox

    async def check(self) -> Availability:
        return await self._inner.check()

    async def attach(self, spec: SandboxSpec) -> Sandbox:
        return await self._inner.attach(spec)

    async def list(self, campaign_id: str | None = None, *, usage: bool = False) -> Sequence[SandboxRow]:
        return await self._inner.list(campaign_id, usage=usage)

    async def remove(self, name: str) -> None:
        if self.away and self.made:
            raise BackendAway("the engine does not answer")
        await self._inner.remove(name)

    async def close(self) -> None:
        await self._inner.close()


class Losing:
    """A real sandbox that is destroyed under its first command."""

    def __init__(self, inner: Sandbox) -> None:
        self._inner = inner
        self.spec = inner.spec

    async def exec(self, *args: Any, **kwargs: Any) -> Any:
        await self._inner.destroy()
        raise SandboxGone("the engine was restarted")

    async def destroy(self) -> None:
        await self._inner.destroy()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aar.scoring.cleanroom.scoring_run._PAUSE_SECONDS", 0.0)


def room(clean_room: CleanRoom, problem: Problem, desk: Desk, **failures: int) -> CleanRoom:
    return CleanRoom(FailingBackend(clean_room.backend, **failures), problem, desk.snapshots, clean_room.work_dir)  # type: ignore[arg-type]


async def test_a_lost_sandbox_is_tried_again(problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk) -> None:
    digest = desk.snapshots.save(desk.method(GOOD)).digest
    for failures in ({"starts": 2}, {"losses": 2}, {"starts": 1, "losses": 1}):
        trial = await run_with_retries(problem, room(clean_room, problem, desk, **failures), task, digest, 5)
        assert trial.failure is None


async def test_a_machine_without_sandboxes_blames_no_method(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk
) -> None:
    digest = desk.snapshots.save(desk.method(GOOD)).digest
    with pytest.raises(SandboxError, match="no room"):
        await run_with_retries(problem, room(clean_room, problem, desk, starts=100), task, digest, 5)


async def test_a_method_that_always_loses_its_sandbox_is_told_so(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk
) -> None:
    digest = desk.snapshots.save(desk.method(GOOD)).digest
    trial = await run_with_retries(problem, room(clean_room, problem, desk, losses=3), task, digest, 5)
    assert trial.failure is RunFailure.SANDBOX_LOST
    assert "ended its own sandbox 3 times" in trial.verdict


async def test_killing_every_process_in_reach_gains_nothing(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk
) -> None:
    digest = desk.snapshots.save(desk.method("import os; os.kill(-1, 9)")).digest
    trial = await run_with_retries(problem, clean_room, task, digest, 5)
    assert trial.score is None
    assert trial.failure in (RunFailure.CRASHED, RunFailure.SANDBOX_LOST, RunFailure.NO_OUTPUT)


async def test_a_disk_that_others_filled_blames_no_method_and_a_method_is_not_tried_for_ever(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = desk.snapshots.save(desk.method("exit(3)")).digest
    again: list[int] = []

    async def count() -> None:
        again.append(1)

    async def run() -> RunFailure | None:
        return (await run_with_retries(problem, clean_room, task, digest, 7, again=count)).failure

    full = [True, True, False, False]  # after the first run, once while it waits, then no more
    monkeypatch.setattr(scoring_run, "is_disk_full", lambda _: full.pop(0))
    assert await run() is RunFailure.CRASHED
    assert (len(again), full) == (1, [])
    again.clear()
    looks = count_from(0)
    monkeypatch.setattr(scoring_run, "is_disk_full", lambda _: next(looks) % 2 == 0)  # full after every run
    assert await run() is RunFailure.CRASHED
    assert len(again) == 2
    monkeypatch.setattr(scoring_run, "is_disk_full", lambda _: True)
    monkeypatch.setattr(scoring_run, "_DISK_PATIENCE_SECONDS", 0.1)
    with pytest.raises(DiskFull):
        await run()


async def test_an_engine_that_is_away_costs_no_attempt_and_blames_no_method(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is restarted in the night: what ran is lost, and for a while nothing can be made."""
    monkeypatch.setattr(incidents, "_SHORTEST_PAUSE", 0.001)
    monkeypatch.setattr(incidents, "_LONGEST_PAUSE", 0.002)
    digest = desk.snapshots.save(desk.method(GOOD)).digest
    told: list[str] = []
    restarted = CleanRoom(
        FailingBackend(clean_room.backend, losses=2, away=30),  # type: ignore[arg-type]
        problem,
        desk.snapshots,
        clean_room.work_dir,
        outages=BackendOutageMonitor(60, lambda _, then: told.append(then)),
    )
    trial = await run_with_retries(problem, restarted, task, digest, 5)
    assert trial.failure is None
    assert told[0].startswith("try 1, next in")
    assert told[-1].startswith("answers again after")
    # What each try left is removed once the engine answers.
    assert list((clean_room.work_dir / "runs").iterdir()) != []
    async with restarted.warm_sandboxes("cleanroom", 1):
        pass
    assert list((clean_room.work_dir / "runs").iterdir()) == []


async def test_an_engine_that_stays_away_blames_no_method(
    problem: Problem, clean_room: CleanRoom, task: Task, desk: Desk
) -> None:
    digest = desk.snapshots.save(desk.method(GOOD)).digest
    with pytest.raises(BackendAway):
        await run_with_retries(problem, room(clean_room, problem, desk, losses=1, away=1000), task, digest, 5)
