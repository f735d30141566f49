"""Validates a problem (``aar problem validate``): its declarations, its splits and its grading."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import anyio.to_thread

from aar.campaign.directions import load_directions
from aar.errors import AarError, DataMissing, PluginFailed
from aar.problems.plugin_calls import GIVES, PROCESSES, call_plugin, read_brief
from aar.problems.protocol import Metric, Problem, RunLimits, Stage
from aar.scoring.baselines import BaselineResult, measure_baselines
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.scoring.cleanroom.run_sandbox import prepared_bundles
from aar.workers.worker_pool import WorkerPool

_SPLIT = 20_261
_HALVES = ("public", "hidden")


class ProblemValidator:
    """The checks of ``aar problem validate``. It collects the flaws, one line each.

    Args:
        problem: the problem; its own code runs in processes of its own.
        sized: the same at its small size, on which the baselines run.
        clean_room: the clean room of the baselines, made for ``sized``.
        folder: splits are prepared below it.
        on_step: called with the text of the next step.
    """

    def __init__(
        self, problem: Problem, sized: Problem, clean_room: CleanRoom, folder: Path, on_step: Callable[[str], None]
    ) -> None:
        self._problem = problem
        self._sized = sized
        self._clean_room = clean_room
        self._folder = folder
        self._on_step = on_step
        self.flaws: list[str] = []

    async def run(self) -> list[str]:
        """Run all checks; skip those that an earlier flaw makes pointless.

        Raises:
            DataMissing: there is no data to check.
            SandboxUnavailable, SandboxError: sandboxes do not work here.
        """
        self._on_step("reading its declarations")
        self.flaws += _wrong_declarations(self._problem)
        if self.flaws:
            return self.flaws
        for method in GIVES:  # used in this process from here on
            await self._attempt(call_plugin(self._problem, method))
        if self.flaws:
            return self.flaws
        await self._attempt(call_plugin(self._problem, "check_data"))
        await self._attempt(anyio.to_thread.run_sync(read_brief, self._problem))
        await self._attempt(anyio.to_thread.run_sync(_read_directions, self._problem))
        before = len(self.flaws)
        # Two processes: a result that depends on a set's order or on time is the same within one.
        other = WorkerPool(1, PROCESSES.environment)
        try:
            for domain, stage in _splits(self._problem):
                self._on_step(f"preparing {domain}, {stage}, twice")
                await self._attempt(self._prepare_twice(domain, stage, other))
        finally:
            other.close()
        if len(self.flaws) == before:
            await self._attempt(self._grade())
        self._on_step("running its own checks")
        await self._attempt(self._run_own_checks())
        return self.flaws

    async def _attempt(self, check: Awaitable[object]) -> None:
        try:
            await check
        except DataMissing:
            raise
        except Exception as error:  # noqa: BLE001 - any error means that the problem is invalid
            self.flaws.append(_line(error))

    async def _prepare_twice(self, domain: str, stage: Stage, other: WorkerPool) -> None:
        digests = []
        for pool in (PROCESSES, other):
            made = prepared_bundles(
                self._problem, self._folder, domain=domain, stage=stage, split_seed=_SPLIT, pool=pool
            )
            async with made as task:
                digests.append({name: await anyio.to_thread.run_sync(_digest, getattr(task, name)) for name in _HALVES})
        for half in _HALVES:
            one, two = (digest[half] for digest in digests)
            differing = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
            if differing:
                named = f"{half}/{differing[0]}" + (f" and {len(differing) - 1} more" if len(differing) > 1 else "")
                self.flaws.append(
                    f"prepare of {domain}, {stage}, gives different bytes in another process: {named}. Draw everything "
                    "from the split's seed, and iterate over no set"
                )

    async def _grade(self) -> None:
        self._on_step("running each baseline once on every domain")
        results = await measure_baselines(self._sized, self._clean_room, seeds=1, parallel=2)
        if not results:
            self.flaws.append("it has no baseline: researchers and the attack suite start from one")
        for result in results:
            if result.estimate is None:
                self.flaws.append(f"baseline {result.key}: {_why(result)}")
        if self._sized.transfer_domains and results:
            [one] = await measure_baselines(
                self._sized, self._clean_room, stage=Stage.TRANSFER, seeds=1, keys=[results[0].key], parallel=2
            )
            if one.estimate is None:
                self.flaws.append(f"baseline {one.key} on the transfer domains: {_why(one)}")

    async def _run_own_checks(self) -> None:
        self.flaws += await call_plugin(self._problem, "validate")


def _why(result: BaselineResult) -> str:
    return " ".join((result.fault or result.verdict).split())


def _line(error: Exception) -> str:
    detail = f": {error.detail}" if isinstance(error, PluginFailed) and error.detail else ""
    text = error.message if isinstance(error, AarError) else f"{type(error).__name__}: {error}"
    return " ".join(f"{text}{detail}".split())


def _read_directions(problem: Problem) -> None:
    load_directions(Path(problem.directions()))


def _splits(problem: Problem) -> Iterator[tuple[str, Stage]]:
    for domain in problem.research_domains:
        yield domain, Stage.RESEARCH
    for domain in problem.climbed_domains:
        yield domain, Stage.MEASURE
        yield domain, Stage.CONFIRM
    for domain in problem.transfer_domains:
        yield domain, Stage.TRANSFER


def _digest(folder: Path) -> dict[str, str]:
    """Return by relative path: a file's SHA-256, or ``folder`` or ``link``."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink() or not path.is_file():
            found[name] = "link" if path.is_symlink() else "folder"
        else:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _wrong_declarations(problem: Problem) -> list[str]:
    """Return the attributes that violate the protocol, one line each."""
    wrong = []
    for name, kind in (("metric", Metric), ("run_limits", RunLimits)):
        if not isinstance(getattr(problem, name), kind):
            wrong.append(f"{name} has the wrong type: got {getattr(problem, name)!r}, expected a {kind.__name__}")
    for name in ("climbed_domains", "transfer_domains", "research_domains"):
        value = getattr(problem, name)
        if (
            isinstance(value, str)
            or not isinstance(value, Sequence)
            or not all(isinstance(each, str) for each in value)
        ):
            wrong.append(f"{name} has the wrong type: got {value!r}, expected a sequence of names")
    if not wrong and not problem.climbed_domains:
        wrong.append("climbed_domains is empty: expected one domain or more")
    if not isinstance(problem.default_seeds, int) or problem.default_seeds < 1:
        wrong.append(f"default_seeds is invalid: got {problem.default_seeds!r}, expected 1 or more")
    return wrong
