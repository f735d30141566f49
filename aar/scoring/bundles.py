"""A task's public and hidden bundles: drawn for one purpose, closed to everybody else, gone afterwards."""

from __future__ import annotations

import secrets
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
from anyio import CancelScope, CapacityLimiter

from aar.errors import ProblemError
from aar.problems.protocol import Problem, Stage, Task


@asynccontextmanager
async def prepared(
    problem: Problem,
    work_dir: Path,
    *,
    domain: str,
    stage: Stage,
    split_seed: int,
    limiter: CapacityLimiter | None = None,
) -> AsyncIterator[Task]:
    """A task's bundles for as long as the block lasts.

    The hidden bundle has mode 0700 and the folder around both is closed while they are written; the public one can
    be read by the unprivileged user of a sandbox. Preparing runs in a thread.

    Args:
        work_dir: the folder of bundles is made here.
        limiter: bounds how many such threads run at once.

    Raises:
        DataMissing, ProblemError: from the problem; ProblemError too when a bundle lies elsewhere than it should.
    """
    folder = work_dir / "bundles" / secrets.token_hex(8)
    try:
        yield await anyio.to_thread.run_sync(_prepare, problem, folder, domain, stage, split_seed, limiter=limiter)
    finally:
        with CancelScope(shield=True):
            await anyio.to_thread.run_sync(shutil.rmtree, folder, True)


def open_up(directory: Path) -> None:
    """Let a sandbox's unprivileged user read a directory's regular files and folders."""
    for path in (directory, *directory.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            path.chmod(stat.S_IMODE(mode) | 0o555)
        elif stat.S_ISREG(mode):
            path.chmod(stat.S_IMODE(mode) | 0o444)


def _prepare(problem: Problem, folder: Path, domain: str, stage: Stage, split_seed: int) -> Task:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    task = problem.prepare(domain, stage, split_seed, folder)
    if (task.public, task.hidden) != (folder / "public", folder / "hidden") or not task.hidden.is_dir():
        raise ProblemError(f"problem {problem.name} wrote its bundles elsewhere than into/public and into/hidden")
    task.hidden.chmod(0o700)
    open_up(task.public)
    folder.chmod(0o711)
    return task
