"""``aar problem validate``: run a problem's checks in scratch folders and a sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from aar.campaign.problem_validation import ProblemValidator
from aar.cli.options import JsonFlag
from aar.cli.output.formatting import clean_line
from aar.cli.output.printing import make_console, print_json
from aar.cli.problem.options import DEFAULT_PROBLEM, ProblemName
from aar.errors import ProblemError
from aar.fsutil import temporary_folder
from aar.problems.plugin_calls import probe_problem
from aar.problems.registry import find_problem, small_problem
from aar.sandbox.inventory import choose_backend
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.snapshots.store import SnapshotStore


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
        return asyncio.run(_run(reference, folder, sandbox, on_step))


async def _run(reference: str, folder: Path, sandbox: str, on_step: Callable[[str], None]) -> tuple[str, list[str]]:
    await probe_problem(reference)
    problem = find_problem(reference)
    backend = await choose_backend(sandbox)
    try:
        sized = small_problem(problem)
        room = CleanRoom(backend, sized, SnapshotStore(folder / "snapshots"), folder / "runs")
        return problem.name, await ProblemValidator(problem, sized, room, folder / "splits", on_step).run()
    finally:
        await backend.close()
