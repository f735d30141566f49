"""Prepares the data that researchers see: the public bundle of one split per domain.

Run it as a process of its own (``python -m aar.campaign.controller.public_data PROBLEM HOME``). It is the longest
step before a researcher's first turn and the controller's own start keeps another core busy meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from pathlib import Path

from aar.errors import AarError, ProblemError
from aar.problems.protocol import Problem, Stage
from aar.problems.registry import find_problem
from aar.processes import exit_with_parent

PUBLIC_DATA_FOLDER = "data"
_RESEARCH_SPLIT = 0


async def prepare_public_data(problem: Problem, reference: str, home: Path) -> None:
    """Put the public bundles of a problem's research domains under ``home/data``.

    Bundles that are there already stay.

    Args:
        problem: the problem of the domains.
        reference: name or path by which a spec names the problem.
        home: the campaign's folder.

    Raises:
        ProblemError: the bundles could not be made.
    """
    if all((home / PUBLIC_DATA_FOLDER / domain).is_dir() for domain in problem.research_domains):
        return
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        reference,
        str(home),
        stdin=asyncio.subprocess.PIPE,  # kept open, and closed by the end of this process, whatever ends it
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C at the terminal is the controller's to answer
    )
    try:
        assert process.stderr is not None
        errors = await process.stderr.read()
        await process.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            process.kill()
        await process.wait()
        raise
    finally:
        if process.stdin is not None:
            process.stdin.close()
    if process.returncode:
        reason = errors.decode(errors="replace").strip().splitlines()
        raise ProblemError(
            f"problem {problem.name} cannot prepare its data: {reason[-1] if reason else 'no reason given'}",
            f"Check it with: aar problem validate {reference}",
        )


def prepare_public_data_here(problem: Problem, home: Path) -> None:
    """Prepare the bundles in this process; a domain appears whole or not at all."""
    for domain in problem.research_domains:
        target = home / PUBLIC_DATA_FOLDER / domain
        if target.is_dir():
            continue
        target.parent.mkdir(exist_ok=True)
        scratch = home / "preparing" / domain
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        task = problem.prepare(domain, Stage.RESEARCH, _RESEARCH_SPLIT, scratch)
        # The hidden half is not needed here. A part that cannot be removed is in a folder that no sandbox sees.
        shutil.rmtree(task.hidden, ignore_errors=True)
        task.public.rename(target)
    shutil.rmtree(home / "preparing", ignore_errors=True)


if __name__ == "__main__":
    exit_with_parent(sys.stdin.buffer)
    try:
        prepare_public_data_here(find_problem(sys.argv[1]), Path(sys.argv[2]))
    except AarError as error:
        sys.exit(str(error))
