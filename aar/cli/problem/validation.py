"""Running ``aar problem validate``: the checks in scratch folders and a sandbox of the machine's choice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from aar.campaign.problem_validation import ProblemValidator
from aar.problems.plugin_calls import probe_problem
from aar.problems.registry import find_problem, small_problem
from aar.sandbox.backends import choose_backend
from aar.sandbox.scratch_folders import temporary_folder
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.snapshots.store import SnapshotStore


def run_problem_checks(reference: str, *, sandbox: str, on_step: Callable[[str], None]) -> tuple[str, list[str]]:
    """Carry out all checks of a problem; returns its name and what is wrong with it.

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
