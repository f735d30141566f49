"""``aar problem baselines``: measure a problem's baselines, and print the results."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aar.cli.options import JsonFlag
from aar.cli.output.formatting import clean_line, format_duration, format_score
from aar.cli.output.printing import make_console, make_table, print_json, to_json_value
from aar.cli.problem.options import DEFAULT_PROBLEM, ProblemName
from aar.errors import UsageError
from aar.fsutil import temporary_folder
from aar.problems.protocol import Problem, Stage
from aar.problems.registry import find_problem
from aar.sandbox.inventory import choose_backend
from aar.scoring.baselines import BaselineResult, measure_baselines
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.snapshots.store import SnapshotStore


def baselines(
    problem: ProblemName = DEFAULT_PROBLEM,
    keys: Annotated[
        list[str] | None, typer.Option("--baseline", "-b", metavar="KEY", help="Only this one; may be repeated.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, max=64, help="Fresh seeds; default the problem's.")] = None,
    transfer: Annotated[bool, typer.Option("--transfer", help="On the transfer domains.")] = False,
    sandbox: Annotated[str, typer.Option(help="auto, docker or bubblewrap.")] = "auto",
    json: JsonFlag = False,
) -> None:
    """Measure the baselines in the clean room.

    They run as submissions do. Prints a table with standard errors.
    """
    found = find_problem(problem)
    found.check_data()
    results = run_baselines(found, keys=keys, seeds=seeds, transfer=transfer, sandbox=sandbox, quiet=json)
    print_results(found, results, json=json)


def run_baselines(
    problem: Problem,
    *,
    keys: Sequence[str] | None,
    seeds: int | None,
    transfer: bool,
    sandbox: str,
    quiet: bool,
) -> list[BaselineResult]:
    """Measure baselines in fresh sandboxes.

    Shows progress on standard error unless ``quiet``.

    Raises:
        UsageError: no such sandbox, or no transfer domains.
        NotFound: no such baseline.
        SandboxUnavailable: no sandbox works here.
    """
    if transfer and not problem.transfer_domains:
        raise UsageError(f"transfer domains do not exist: got problem {problem.name}", "Leave --transfer out")
    stage = Stage.TRANSFER if transfer else Stage.MEASURE
    with temporary_folder("aar-baselines-") as folder:
        return asyncio.run(_measure(problem, folder, keys, seeds or problem.default_seeds, stage, sandbox, quiet))


async def _measure(
    problem: Problem,
    folder: Path,
    keys: Sequence[str] | None,
    seeds: int,
    stage: Stage,
    sandbox: str,
    quiet: bool,
) -> list[BaselineResult]:
    backend = await choose_backend(sandbox)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=make_console(stderr=True), disable=quiet, transient=True)
    bars = {each.key: progress.add_task(each.key, visible=False) for each in problem.baselines()}

    def ran(key: str, done: int, whole: int) -> None:
        progress.update(bars[key], completed=done, total=whole, visible=True)

    try:
        with progress:
            return await measure_baselines(
                problem,
                CleanRoom(backend, problem, SnapshotStore(folder / "snapshots"), folder / "runs"),
                stage=stage,
                seeds=seeds,
                keys=keys or None,
                parallel=_cores(),
                on_run=ran,
            )
    finally:
        await backend.close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def print_results(problem: Problem, results: Sequence[BaselineResult], *, json: bool) -> None:
    """Print the results as a table, or as the documented JSON.

    The JSON is a list of key, estimate or verdict, and seconds.
    """
    if json:
        print_json([to_json_value(result) for result in results])
        return
    domains = sorted({name for result in results if result.estimate for name in result.estimate.by_domain})
    numbers = (problem.metric.name, "90 % interval", *domains)
    made = make_table("baseline", *numbers, "time", right=(*numbers, "time"))
    for result in results:
        pooled = result.estimate
        if pooled is None:
            made.add_row(
                result.key, "–", clean_line(result.verdict), *("" for _ in domains), format_duration(result.seconds)
            )
            continue
        parts = [pooled.by_domain.get(name) for name in domains]
        made.add_row(
            result.key,
            format_score(pooled.mean, pooled.standard_error),
            f"{pooled.low:.2f} … {pooled.high:.2f}",
            *(format_score(part.mean, part.standard_error) if part else "–" for part in parts),
            format_duration(result.seconds),
        )
    make_console().print(made)
