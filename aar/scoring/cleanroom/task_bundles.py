"""Prepares a task's public and hidden bundles for one use, then removes them.

While they exist, no other user can open them.
"""

from __future__ import annotations

import secrets
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
from anyio import CancelScope, CapacityLimiter

from aar.concurrency import best_effort, log_failure
from aar.errors import PluginFailed
from aar.fsutil import remove_tree
from aar.problems.plugin_calls import PROCESSES, call_plugin
from aar.problems.protocol import Problem, Stage, Task

if TYPE_CHECKING:
    from aar.workers.worker_pool import WorkerPool


@asynccontextmanager
async def prepared_bundles(
    problem: Problem,
    work_dir: Path,
    *,
    domain: str,
    stage: Stage,
    split_seed: int,
    limiter: CapacityLimiter | None = None,
    pool: WorkerPool = PROCESSES,
) -> AsyncIterator[Task]:
    """Provide a task's bundles while the block lasts.

    The hidden bundle has mode 0700 and the folder around both is closed while they are written; the public one can
    be read by the unprivileged user of a sandbox.

    Args:
        work_dir: the folder of bundles is made here.
        limiter: bounds how many are prepared at once.
        pool: whose processes prepare them.

    Raises:
        DataMissing, PluginFailed: from the problem; PluginFailed too when a bundle lies elsewhere than it should.
    """
    folder = work_dir / "bundles" / secrets.token_hex(8)
    try:
        await anyio.to_thread.run_sync(_make, folder)
        task = await call_plugin(problem, "prepare", domain, stage, split_seed, folder, limiter=limiter, pool=pool)
        await anyio.to_thread.run_sync(_settle, problem, task, folder)
        yield task
    finally:
        with CancelScope(shield=True):
            # The next sweep removes the rest.
            await best_effort(anyio.to_thread.run_sync(remove_tree, folder), log_failure("a bundle is left behind"))


def make_readable(directory: Path) -> None:
    """Make a directory's regular files and folders readable for a sandbox's unprivileged user."""
    for path in (directory, *directory.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            path.chmod(stat.S_IMODE(mode) | 0o555)
        elif stat.S_ISREG(mode):
            path.chmod(stat.S_IMODE(mode) | 0o444)


def _make(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)


def _settle(problem: Problem, task: Task, folder: Path) -> None:
    places = folder / "public", folder / "hidden"
    if (task.public, task.hidden) != places or not all(each.is_dir() for each in places):
        raise PluginFailed(f"bundles of problem {problem.name} misplaced: expected into/public and into/hidden")
    task.hidden.chmod(0o700)
    make_readable(task.public)
    folder.chmod(0o711)
