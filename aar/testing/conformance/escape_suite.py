"""The escape suite: every attempt to break out of a sandbox, against a backend.

A neighbour sandbox runs at the same time.

As tests: subclass ``EscapeSuite`` and override ``make_backend``. As a table: ``attempt_all_escapes``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from aar.errors import SandboxGone
from aar.redteam.escapes import ESCAPES, Escape
from aar.redteam.escapes.escape_arena import EscapeArena, open_escape_arena
from aar.redteam.escapes.transfers import TRANSFER_ESCAPES
from aar.sandbox.protocol import Sandbox, SandboxBackend


@dataclass(frozen=True, slots=True)
class EscapeOutcome:
    """The outcome of an attempt.

    The successful parts (empty when there are none), and whether the neighbour was affected.
    """

    name: str
    goal: str
    got_through: str
    neighbour_fine: bool
    said: str


async def attempt_escape(place: EscapeArena, neighbour: Sandbox, escape: Escape) -> EscapeOutcome:
    """Make one attempt while the neighbour works, and return its outcome."""
    box = await place.attacker()
    working = asyncio.create_task(_work(neighbour))
    output, got = "", []
    try:
        result = await box.exec(["python3", "-c", place.filled(escape.script)], timeout=escape.seconds)
        output = result.output
        got = [line for line in output.splitlines() if line.startswith("GOT THROUGH")]
        left = await box.exec(["python3", "-c", _LEFT], timeout=30)
        if left.output.strip() != "0":
            got.append(f"GOT THROUGH: {left.output.strip()} processes outlived it")
        await _tidy(box)
    except SandboxGone as gone:
        output = str(gone)
    fine = await working
    return EscapeOutcome(escape.name, escape.goal, "; ".join(got), fine, output[-2000:])


async def attempt_transfer(place: EscapeArena, neighbour: Sandbox, name: str) -> EscapeOutcome:
    """Make one attempt through ``put``, ``get``, ``read`` or ``write``."""
    box = await place.attacker()
    working = asyncio.create_task(_work(neighbour))
    goal, act = TRANSFER_ESCAPES[name]
    target = place.folder / f"got-{name}"
    got = await act(place, box, target)
    await _tidy(box)
    return EscapeOutcome(name, goal, got, await working, "")


async def attempt_all_escapes(backend: SandboxBackend, folder: Path) -> Sequence[EscapeOutcome]:
    """Make every attempt against one backend, for a table."""
    async with open_escape_arena(backend, folder) as (place, neighbour):
        outcomes = [await attempt_escape(place, neighbour, escape) for escape in ESCAPES]
        return [*outcomes, *[await attempt_transfer(place, neighbour, name) for name in TRANSFER_ESCAPES]]


async def _work(neighbour: Sandbox) -> bool:
    """Run the work of an honest researcher meanwhile."""
    for number in range(3):
        result = await neighbour.exec(["python3", "-c", f"print(sum(range({number} + 10000)))"], timeout=60)
        if result.output.strip() != str(sum(range(number + 10000))):
            return False
    return await neighbour.read("secret.txt") != b""


async def _tidy(box: Sandbox) -> None:
    await box.exec("find /workspace /tmp /dev/shm -mindepth 1 -delete 2>/dev/null", timeout=60)


_LEFT = """
import os
n = -2
for p in os.listdir('/proc'):
    if p.isdigit():
        try: s = open(f'/proc/{p}/stat').read().rsplit(')', 1)[1].split()
        except OSError: continue
        own = s[1] == '1' and open(f'/proc/{p}/cmdline').read() == open('/proc/1/cmdline').read()
        n += s[0] not in 'ZX' and not own
print(n)
"""
"""Counts processes other than this script, the first process and its idle forks."""


Battle = Callable[[Callable[[EscapeArena, Sandbox], Awaitable[EscapeOutcome]]], EscapeOutcome]
"""Runs an attempt in the arena that all tests of a class share."""


class EscapeSuite:
    """Each attempt as a test: it fails, and the neighbour is not affected."""

    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls) -> Callable[[], SandboxBackend]:
        """Return a function that makes the backend under test."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture(scope="class")
    @classmethod
    def battle(
        cls, make_backend: Callable[[], SandboxBackend], tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Battle]:
        """Yield ``battle(attempt)``, which runs an attempt in the shared arena.

        All tests of the class share the arena.
        """
        with asyncio.Runner() as runner:
            backend = make_backend()
            ground = open_escape_arena(backend, tmp_path_factory.mktemp("arena"))
            place, neighbour = runner.run(ground.__aenter__())

            async def fight(made: Callable[[EscapeArena, Sandbox], Awaitable[EscapeOutcome]]) -> EscapeOutcome:
                return await made(place, neighbour)

            yield lambda made: runner.run(fight(made))
            runner.run(ground.__aexit__(None, None, None))
            runner.run(backend.close())

    @pytest.mark.parametrize("escape", ESCAPES, ids=lambda e: e.name)
    def test_attempt_fails_and_the_neighbour_works_on(self, battle: Battle, escape: Escape) -> None:
        outcome = battle(lambda place, neighbour: attempt_escape(place, neighbour, escape))
        assert outcome.got_through == "", outcome.said
        assert outcome.neighbour_fine

    @pytest.mark.parametrize("name", TRANSFER_ESCAPES)
    def test_transfer_is_contained(self, battle: Battle, name: str) -> None:
        outcome = battle(lambda place, neighbour: attempt_transfer(place, neighbour, name))
        assert outcome.got_through == ""
        assert outcome.neighbour_fine
