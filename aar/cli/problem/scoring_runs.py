"""``aar problem validate``, ``baselines`` and ``attack``: score methods in scratch folders and sandboxes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aar.campaign.problem_validation import ProblemValidator
from aar.cli.options import JsonFlag
from aar.cli.output.printing import make_console, make_table, print_json, to_json_value
from aar.cli.problem.commands import DEFAULT_PROBLEM, ProblemName
from aar.errors import ProblemError, UsageError
from aar.fsutil import temporary_folder
from aar.problems.plugin_calls import probe_problem
from aar.problems.protocol import Problem, Stage
from aar.problems.registry import find_problem, small_problem
from aar.readmodels.formatting import format_duration, format_score
from aar.redteam import ATTACKS, AttackOutcome, AttackResult, attack_all
from aar.sandbox.inventory import choose_backend
from aar.sandbox.protocol import SandboxBackend
from aar.scoring.baselines import BaselineResult, measure_baselines
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.snapshots.store import SnapshotStore
from aar.text import clean_line


def validate(
    problem: ProblemName = DEFAULT_PROBLEM,
    sandbox: Annotated[str, typer.Option(help="auto, docker or bubblewrap.")] = "auto",
    json: JsonFlag = False,
) -> None:
    """Check that a problem is sound.

    Prepares every split twice, runs and grades the baselines in the clean room, and searches for hidden labels in
    public.

    Brief and directions are read too, and the problem's own checks come last.
    """

    def print_step(step: str) -> None:
        if not json:
            make_console(stderr=True).print(f"{step} …", style="dim")

    async def run(folder: Path) -> tuple[str, list[str]]:
        await probe_problem(problem)
        plugin = find_problem(problem)
        async with _backend(sandbox) as backend:
            small = small_problem(plugin)
            room = CleanRoom(backend, small, SnapshotStore(folder / "snapshots"), folder / "runs")
            return plugin.name, await ProblemValidator(plugin, small, room, folder / "splits", print_step).run()

    with temporary_folder("aar-validate-") as folder:
        name, flaws = asyncio.run(run(folder))
    if json:
        print_json({"problem": name, "sound": not flaws, "flaws": flaws})
    elif not flaws:
        print(f"{name} is sound")
    else:
        for flaw in flaws:
            print(f"- {clean_line(flaw)}")
    if flaws:
        raise ProblemError(f"problem {name} has {len(flaws)} flaw{'s' if len(flaws) > 1 else ''}")


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
    plugin = find_problem(problem)
    plugin.check_data()
    if transfer and not plugin.transfer_domains:
        raise UsageError(f"transfer domains do not exist: got problem {plugin.name}", "Leave --transfer out")
    progress = _progress(quiet=json)
    bars = {each.key: progress.add_task(each.key, visible=False) for each in plugin.baselines()}

    def on_run(key: str, done: int, whole: int) -> None:
        progress.update(bars[key], completed=done, total=whole, visible=True)

    async def run(folder: Path) -> list[BaselineResult]:
        async with _backend(sandbox) as backend:
            with progress:
                return await measure_baselines(
                    plugin,
                    CleanRoom(backend, plugin, SnapshotStore(folder / "snapshots"), folder / "runs"),
                    stage=Stage.TRANSFER if transfer else Stage.MEASURE,
                    seeds=seeds or plugin.default_seeds,
                    keys=keys or None,
                    parallel=_cores(),
                    on_run=on_run,
                )

    with temporary_folder("aar-baselines-") as folder:
        results = asyncio.run(run(folder))
    if json:
        print_json(results)
    else:
        _print_baselines(plugin, results)


def _print_baselines(problem: Problem, results: Sequence[BaselineResult]) -> None:
    domains = sorted({name for result in results if result.estimate for name in result.estimate.by_domain})
    numbers = (problem.metric.name, "90 % interval", *domains)
    table = make_table("baseline", *numbers, "time", right=(*numbers, "time"))
    for result in results:
        pooled = result.estimate
        if pooled is None:
            table.add_row(
                result.key, "–", clean_line(result.verdict), *("" for _ in domains), format_duration(result.seconds)
            )
            continue
        parts = [pooled.by_domain.get(name) for name in domains]
        table.add_row(
            result.key,
            format_score(pooled.mean, pooled.standard_error),
            f"{pooled.low:.2f} … {pooled.high:.2f}",
            *(format_score(part.mean, part.standard_error) if part else "–" for part in parts),
            format_duration(result.seconds),
        )
    make_console().print(table)


def attack(
    problem: ProblemName = DEFAULT_PROBLEM,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Only this attack; may be repeated.")
    ] = None,
    submissions: Annotated[
        int, typer.Option(min=2, max=512, help="How many an attacker with patience hands in.")
    ] = 240,
    seeds: Annotated[int | None, typer.Option(min=2, max=64, help="Fresh seeds; default the problem's.")] = None,
    base: Annotated[str | None, typer.Option(metavar="KEY", help="Baseline to start from; default the last.")] = None,
    sandbox: Annotated[str, typer.Option(help="auto, docker or bubblewrap.")] = "auto",
    json: JsonFlag = False,
) -> None:
    """Run all known attacks on a problem's scores.

    Shows the gain of each attack on the sealed split.
    """
    plugin = find_problem(problem)
    plugin.check_data()
    progress = _progress(quiet=json)
    bar = progress.add_task("attacks", total=len(only or ()) or len(ATTACKS))

    def on_step(name: str, step: str) -> None:
        progress.update(bar, description=clean_line(f"{name}: {step}" if step else name))

    def on_outcome(_name: str, _result: AttackResult | None) -> None:
        progress.advance(bar)

    async def run(folder: Path) -> list[AttackOutcome]:
        async with _backend(sandbox) as backend:
            with progress:
                return await attack_all(
                    plugin,
                    backend,
                    folder,
                    only=only or (),
                    submissions=submissions,
                    seeds=seeds,
                    base=base,
                    parallel=_cores(),
                    on_step=on_step,
                    on_outcome=on_outcome,
                )

    with temporary_folder("aar-attack-") as folder:
        outcomes = asyncio.run(run(folder))
    if json:
        print_json([{**to_json_value(outcome), "held": outcome.held} for outcome in outcomes])
    else:
        _print_attacks(plugin, outcomes)
    if not all(outcome.held for outcome in outcomes):
        raise typer.Exit(1)


def _print_attacks(problem: Problem, outcomes: Sequence[AttackOutcome]) -> None:
    table = make_table(
        "attack", "what it tries", "gain when sealed", "noise", "answered by", right=("gain when sealed",)
    )
    for outcome in outcomes:
        result = outcome.result
        if result is None:
            table.add_row(outcome.name, outcome.goal, "–", "–", f"not open to it: {outcome.skipped}")
            continue
        noise = {True: "inside", False: "above", None: "–"}[outcome.inside_noise]
        table.add_row(outcome.name, outcome.goal, outcome.gain_text, noise, clean_line(outcome.summary))
    out = make_console()
    out.print(table)
    for outcome in outcomes:
        if outcome.result is not None and outcome.result.said:
            out.print(f"{outcome.name}: {clean_line(outcome.result.said)} ({format_duration(outcome.seconds)})")
    bad = [outcome.name for outcome in outcomes if not outcome.held]
    verdict = f"not held: {', '.join(bad)}" if bad else "all held"
    out.print(f"\n{len(outcomes)} attacks on {problem.metric.name} of {problem.name}, {verdict}", style="bold")


@asynccontextmanager
async def _backend(kind: str) -> AsyncIterator[SandboxBackend]:
    backend = await choose_backend(kind)
    try:
        yield backend
    finally:
        await backend.close()


def _progress(*, quiet: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=make_console(stderr=True), disable=quiet, transient=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
