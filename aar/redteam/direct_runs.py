"""Runs methods in the clean room for the arena itself, beside the scorer.

So an attack's gain is measured on the sealed split by runs that no score on the board rests on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from aar.errors import ProblemError
from aar.problems.protocol import Problem, Stage, Task
from aar.redteam.gain import Gain, OutputPair, load_output, paired_gain
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.scoring.cleanroom.run_sandbox import prepared_bundles
from aar.scoring.phases import draw_seeds

DRAWS = "attacks"
"""The secret of all splits, the scorer's too, so that a suite repeats; no attack's code uses it."""


@dataclass(frozen=True, slots=True)
class PreparedTask:
    """One prepared task, its method seed, and its index among the stage's draws."""

    task: Task
    seed: int
    index: int


@dataclass(slots=True)
class DirectRuns:
    """Prepared tasks and outputs, each made once for a whole suite.

    Args:
        honest: directory of the baseline that attacks start from.
        owner: campaign that the runs' sandboxes are named after.
        seeds: draws of the sealed split.
        parallel: runs at a time.
    """

    problem: Problem
    room: CleanRoom
    honest: Path
    owner: str
    seeds: int
    parallel: int
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _places: dict[Stage, list[PreparedTask]] = field(default_factory=dict)
    _outputs: dict[tuple[Path, Path], bytes | str] = field(default_factory=dict)

    async def places(self, stage: Stage, count: int) -> list[PreparedTask]:
        """Return draws of every domain, prepared once for the whole suite."""
        ready = self._places.setdefault(stage, [])
        for index in range(len(ready) // len(self.problem.climbed_domains), count):
            for domain in self.problem.climbed_domains:
                drawn = draw_seeds(DRAWS, stage, 0, domain, index)
                task = await self._stack.enter_async_context(
                    prepared_bundles(
                        self.problem, self.room.work_dir, domain=domain, stage=stage, split_seed=drawn.split_seed
                    )
                )
                ready.append(PreparedTask(task, drawn.seed, index))
        return ready[: count * len(self.problem.climbed_domains)]

    async def run(self, source: Path, place: PreparedTask) -> bytes | str:
        """Return a method's output on a task, or its verdict; each pair runs once."""
        key = (source, place.task.public)
        if key not in self._outputs:
            outcome = await self.room.run(place.task, source, place.seed, owner=self.owner)
            self._outputs[key] = outcome.verdict if outcome.output is None else outcome.output.read_bytes()
            outcome.discard()
        return self._outputs[key]

    async def run_on(self, source: Path, places: Sequence[PreparedTask]) -> list[bytes | str]:
        """Run a method on many tasks, in parallel on the available cores."""
        slots = asyncio.Semaphore(self.parallel)

        async def one(place: PreparedTask) -> bytes | str:
            async with slots:
                return await self.run(source, place)

        return await asyncio.gather(*(one(place) for place in places))

    async def gain(self, source: Path) -> Gain | str:
        """Return a method's gain on the sealed split, or its verdict if it fails.

        The gain is over the honest method.
        """
        places = await self.places(Stage.CONFIRM, self.seeds)
        honest = await self.honest_on(places)
        attack = await self.run_on(source, places)
        pairs = []
        for place, before, after in zip(places, honest, attack, strict=True):
            if isinstance(after, str):
                return after
            pairs.append(OutputPair(place.task, place.index, before, after))
        return await asyncio.to_thread(paired_gain, self.problem, pairs)

    async def honest_on(self, places: Sequence[PreparedTask]) -> list[bytes]:
        """Return the honest method's outputs. Raises ProblemError if the baseline fails."""
        outputs = await self.run_on(self.honest, places)
        bad = next((output for output in outputs if isinstance(output, str)), None)
        if bad is not None:
            raise ProblemError(f"the baseline that attacks start from {bad}", "See `aar problem baselines`")
        return [output for output in outputs if isinstance(output, bytes)]

    async def has_items(self) -> bool:
        """Return True if outputs are arrays with one value for each row of ``test.npy``."""
        place = (await self.places(Stage.MEASURE, 1))[0]
        rows, output = place.task.public / "test.npy", load_output((await self.honest_on([place]))[0])
        return output is not None and rows.is_file() and len(np.load(rows, allow_pickle=False)) == len(output)

    async def close(self) -> None:
        """Remove the prepared tasks."""
        await self._stack.aclose()
