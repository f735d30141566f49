"""``aar problem attack``: run attacks on a problem's scores, and print the results."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from aar.cli.options import JsonFlag
from aar.cli.output.formatting import clean_line, format_duration
from aar.cli.output.printing import make_console, make_table, print_json, to_json_value
from aar.cli.problem.options import DEFAULT_PROBLEM, ProblemName
from aar.fsutil import temporary_folder
from aar.problems.protocol import Problem
from aar.problems.registry import find_problem
from aar.redteam import ATTACKS, AttackOutcome, AttackResult, attack_all
from aar.sandbox.inventory import choose_backend

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


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
