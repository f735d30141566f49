"""Steps in threads that are waited for even when nobody wants their result any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from aar.concurrency import run_to_completion
from aar.sandbox.protocol import SandboxBackend, SandboxSpec

pytestmark = pytest.mark.anyio


async def test_results_and_errors_come_through() -> None:
    assert await run_to_completion(lambda: int("7")) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await run_to_completion(lambda: int("seven"))


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_step_has_ended_when_the_cancellation_arrives(fails: bool) -> None:
    begun, may_end, ended, undone = (threading.Event() for _ in range(4))

    def step() -> None:
        begun.set()
        may_end.wait(30)
        ended.set()
        if fails:
            raise OSError("too late to matter")

    task = asyncio.ensure_future(run_to_completion(step, undone.set))
    await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert undone.is_set() is not fails


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12])
async def test_a_sandbox_cancelled_while_it_is_made_leaves_no_mount(
    each_backend: Callable[[], SandboxBackend], tmp_path: Path, delay: float
) -> None:
    backend = each_backend()
    workspace = tmp_path / "workspace"
    making = asyncio.ensure_future(backend.create(SandboxSpec("cancelled", "threads", workspace)))
    await asyncio.sleep(delay)
    making.cancel()
    try:
        await making
    except asyncio.CancelledError:
        pass
    else:
        await backend.remove("cancelled")
    assert _left(workspace) == []
    assert await backend.orphans("threads") == []
    await backend.close()


def _left(workspace: Path) -> list[Path]:
    mounted = [workspace] if workspace.is_mount() else []
    return [*mounted, *workspace.parent.glob(".workspace*")]
