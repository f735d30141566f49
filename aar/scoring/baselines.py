"""Measures a problem's own baselines in the clean room, pooled as submissions are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import anyio
from anyio import CapacityLimiter

from aar.concurrency import unwrap_exception_group
from aar.errors import NotFound
from aar.problems.plugin_calls import pool_scores
from aar.problems.protocol import Baseline, Estimate, Problem, Stage, Task, TaskScore
from aar.scoring.cleanroom.clean_room import DEFAULT_OWNER, CleanRoom, ScoringRunResult
from aar.scoring.cleanroom.run_sandbox import prepared_bundles
from aar.scoring.cleanroom.scoring_run import run_with_retries
from aar.scoring.phases import SeedDraw, draw_seeds

_PUBLIC_SECRET = "baselines"  # noqa: S105 - baselines have nothing to hide; fixed, so that the table repeats


@dataclass(frozen=True, slots=True)
class BaselineResult:
    """The result of one baseline.

    Args:
        estimate: the pooled score; None when a run failed.
        verdict: the reason that there is none; empty otherwise.
        seconds: wall-clock seconds of its runs together.
        fault: the error in the problem's own code; empty if there was none.
    """

    key: str
    estimate: Estimate | None
    verdict: str
    seconds: float
    fault: str = ""


async def measure_baselines(
    problem: Problem,
    clean_room: CleanRoom,
    *,
    stage: Stage = Stage.MEASURE,
    seeds: int,
    keys: Sequence[str] | None = None,
    parallel: int = 1,
    on_result: Callable[[BaselineResult], None] | None = None,
    on_run: Callable[[str, int, int], None] | None = None,
) -> list[BaselineResult]:
    """Measure baselines on the same splits and seeds, for comparison pair by pair.

    The seeds are the same every time.

    Args:
        stage: TRANSFER takes the transfer domains, any other the ones climbed on.
        seeds: seeds, each with a split of its own, on every domain.
        keys: which baselines, in this order; None for all.
        parallel: runs at the same time.
        on_result: called with each baseline's result as soon as it exists.
        on_run: called after each run with the baseline's key, its finished runs and its runs in all.

    Raises:
        NotFound: no baseline of that key.
        SandboxUnavailable, SandboxError, ProblemError, DataMissing: as in ``run_with_retries``.
    """
    chosen = _choose(problem, keys)
    domains = problem.transfer_domains if stage is Stage.TRANSFER else problem.climbed_domains
    draws = [
        (domain, draw_seeds(_PUBLIC_SECRET, stage, 0, domain, index)) for index in range(seeds) for domain in domains
    ]
    threads, slots = CapacityLimiter(parallel), CapacityLimiter(parallel)
    async with AsyncExitStack() as stack:
        tasks: list[Task | None] = [None] * len(draws)

        async def prepare(place: int) -> None:
            domain, drawn = draws[place]
            tasks[place] = await stack.enter_async_context(
                prepared_bundles(
                    problem,
                    clean_room.work_dir,
                    domain=domain,
                    stage=stage,
                    split_seed=drawn.split_seed,
                    limiter=threads,
                )
            )

        with unwrap_exception_group():
            async with anyio.create_task_group() as preparing:
                for place in range(len(draws)):
                    preparing.start_soon(prepare, place)
        ready = [(task, drawn) for task, (_, drawn) in zip(tasks, draws, strict=True) if task is not None]
        results = []
        async with clean_room.warm_sandboxes(DEFAULT_OWNER, parallel):
            for baseline in chosen:
                result = await _measure(problem, clean_room, baseline, ready, slots, threads, on_run)
                results.append(result)
                if on_result is not None:
                    on_result(result)
        return results


async def _measure(
    problem: Problem,
    clean_room: CleanRoom,
    baseline: Baseline,
    ready: Sequence[tuple[Task, SeedDraw]],
    slots: CapacityLimiter,
    threads: CapacityLimiter,
    on_run: Callable[[str, int, int], None] | None,
) -> BaselineResult:
    results: dict[int, ScoringRunResult] = {}

    async def run_one(place: int) -> None:
        task, drawn = ready[place]
        results[place] = await run_with_retries(
            problem, clean_room, task, baseline.directory, drawn.seed, slot=slots, limiter=threads
        )
        if on_run is not None:
            on_run(baseline.key, len(results), len(ready))

    with unwrap_exception_group():
        async with anyio.create_task_group() as running:
            for place in range(len(ready)):
                running.start_soon(run_one, place)
    seconds = sum(result.seconds for result in results.values())
    scores: list[tuple[Task, TaskScore]] = []
    for place, (task, _) in enumerate(ready):
        result = results[place]
        if result.score is None:
            verdict = f"run {place + 1} of {len(ready)} ({task.domain}) {result.verdict}"
            return BaselineResult(baseline.key, None, verdict, seconds, result.fault)
        scores.append((task, result.score))
    estimate = await pool_scores(problem, scores, limiter=threads)
    return BaselineResult(baseline.key, estimate, "", seconds)


def _choose(problem: Problem, keys: Sequence[str] | None) -> list[Baseline]:
    known = {baseline.key: baseline for baseline in problem.baselines()}
    for key in keys or ():
        if key not in known:
            raise NotFound(f"problem {problem.name} has no baseline {key!r}", f"Known: {', '.join(known)}")
    return [known[key] for key in (known if keys is None else keys)]
