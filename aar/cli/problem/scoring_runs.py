"""``aar problem validate``, ``baselines`` and ``attack``: score methods in scratch folders and sandboxes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Sequence
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

    name, flaws = run_problem_checks(problem, sandbox=sandbox, on_step=print_step)
    if json:
        print_json({"problem": name, "sound": not flaws, "flaws": flaws})
    elif not flaws:
        print(f"{name} is sound")
    else:
        for flaw in flaws:
            print(f"- {clean_line(flaw)}")
    if flaws:
        raise ProblemError(f"problem {name} has {len(flaws)} flaw{'s' if len(flaws) > 1 else ''}")


def run_problem_checks(reference: str, *, sandbox: str, on_step: Callable[[str], None]) -> tuple[str, list[str]]:
    """Run all checks of a problem, and return its name and its flaws.

    Raises:
        NotFound, ProblemError: the problem cannot be loaded.
        DataMissing: its data is absent.
        SandboxUnavailable: no sandbox works here.
    """
    with temporary_folder("aar-validate-") as folder:
        return asyncio.run(_validate(reference, folder, sandbox, on_step))


async def _validate(
    reference: str, folder: Path, sandbox: str, on_step: Callable[[str], None]
) -> tuple[str, list[str]]:
    await probe_problem(reference)
    problem = find_problem(reference)
    backend = await choose_backend(sandbox)
    try:
        sized = small_problem(problem)
        room = CleanRoom(backend, sized, SnapshotStore(folder / "snapshots"), folder / "runs")
        return problem.name, await ProblemValidator(problem, sized, room, folder / "splits", on_step).run()
    finally:
        await backend.close()


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


_SAID = 160


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
    found = find_problem(problem)
    found.check_data()
    outcomes = run_attacks(
        found, only=only or (), submissions=submissions, seeds=seeds, base=base, sandbox=sandbox, quiet=json
    )
    print_outcomes(found, outcomes, json=json)
    if not all(outcome.held for outcome in outcomes):
        raise typer.Exit(1)


def run_attacks(
    problem: Problem,
    *,
    only: Collection[str],
    submissions: int,
    seeds: int | None,
    base: str | None,
    sandbox: str,
    quiet: bool,
) -> list[AttackOutcome]:
    """Run the attacks in fresh sandboxes and a scratch folder.

    Shows progress on standard error unless ``quiet``.

    Raises:
        UsageError: no such sandbox.
        NotFound: no such attack or baseline.
        SandboxUnavailable: no sandbox works here.
    """
    with temporary_folder("aar-attack-") as folder:
        return asyncio.run(_carry_out(problem, folder, only, submissions, seeds, base, sandbox, quiet))


async def _carry_out(
    problem: Problem,
    folder: Path,
    only: Collection[str],
    submissions: int,
    seeds: int | None,
    base: str | None,
    sandbox: str,
    quiet: bool,
) -> list[AttackOutcome]:
    backend = await choose_backend(sandbox)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=make_console(stderr=True), disable=quiet, transient=True)
    bar = progress.add_task("attacks", total=len(only) or len(ATTACKS))

    def step(name: str, what: str) -> None:
        progress.update(bar, description=clean_line(f"{name}: {what}" if what else name))

    def ended(_name: str, _result: AttackResult | None) -> None:
        progress.advance(bar)

    try:
        with progress:
            return await attack_all(
                problem,
                backend,
                folder,
                only=only,
                submissions=submissions,
                seeds=seeds,
                base=base,
                parallel=_cores(),
                on_step=step,
                on_outcome=ended,
            )
    finally:
        await backend.close()


def print_outcomes(problem: Problem, outcomes: Sequence[AttackOutcome], *, json: bool) -> None:
    """Print the outcomes as a table, or as the documented JSON with ``held``."""
    if json:
        print_json([{**to_json_value(outcome), "held": outcome.held} for outcome in outcomes])
        return
    made = make_table(
        "attack", "what it tries", "gain when sealed", "noise", "answered by", right=("gain when sealed",)
    )
    for outcome in outcomes:
        result = outcome.result
        if result is None:
            made.add_row(outcome.name, outcome.goal, "–", "–", f"not open to it: {outcome.skipped}")
            continue
        gain = "–" if result.gain is None else f"{result.gain.mean:+.3f} ± {result.gain.standard_error:.3f}"
        noise = {True: "inside", False: "above", None: "–"}[outcome.inside_noise]
        made.add_row(outcome.name, outcome.goal, gain, noise, clean_line(outcome_summary(outcome)))
    out = make_console()
    out.print(made)
    for outcome in outcomes:
        if outcome.result is not None and outcome.result.said:
            out.print(f"{outcome.name}: {clean_line(outcome.result.said)} ({format_duration(outcome.seconds)})")
    bad = [outcome.name for outcome in outcomes if not outcome.held]
    verdict = f"not held: {', '.join(bad)}" if bad else "all held"
    out.print(f"\n{len(outcomes)} attacks on {problem.metric.name} of {problem.name}, {verdict}", style="bold")


def outcome_summary(outcome: AttackOutcome) -> str:
    """Summarize an outcome: the defence that stopped or marked it, or what got through."""
    result = outcome.result
    if result is None:
        return outcome.skipped
    if result.through:
        return f"GOT THROUGH: {'; '.join(result.through)}"[:_SAID]
    said = "; ".join(part for part in (result.stopped, f"marked {result.noted}" if result.noted else "") if part)
    return said[:_SAID] or ("" if outcome.inside_noise is not False else "NOBODY")
