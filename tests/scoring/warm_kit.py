"""What the tests of warm sandboxes need: a backend that can be watched, a clock, waiting until some are ready."""

from __future__ import annotations

from typing import Any

import anyio

from aar.errors import SandboxError
from aar.problems.protocol import Problem, Task
from aar.sandbox.protocol import Sandbox, SandboxSpec
from aar.scoring.cleanroom.clean_room import DEFAULT_OWNER, CleanRoom, ScoringRunResult
from aar.scoring.cleanroom.scoring_run import run_with_retries

from .conftest import Desk


class Counting:
    """A real backend that notes what it makes, and fails to make any while told to."""

    name = "counting"

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.made: list[Sandbox] = []
        self.failing = False

    async def create(self, spec: SandboxSpec) -> Sandbox:
        if self.failing:
            raise SandboxError("no room for a sandbox")
        sandbox: Sandbox = await self._inner.create(spec)
        self.made.append(sandbox)
        return sandbox

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Clock:
    """Says what it is told to."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


async def ready(room: CleanRoom, rooms: int, owner: str = DEFAULT_OWNER) -> None:
    """Wait until so many are ready."""
    with anyio.fail_after(60):
        while room.count_ready(owner) < rooms:  # noqa: ASYNC110 - the pool tells nobody
            await anyio.sleep(0.01)


async def attempt(problem: Problem, room: CleanRoom, task: Task, desk: Desk, code: str) -> ScoringRunResult:
    return await run_with_retries(problem, room, task, desk.snapshots.save(desk.method(code)).digest, 5)
