"""Removal of sandboxes and temporary folders left by ended controllers.

A failure with one does not stop the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from aar.errors import SandboxUnavailable
from aar.fsutil import remove_tree
from aar.sandbox import workspaces
from aar.sandbox.protocol import SandboxBackend
from aar.sandbox.scratch_folders import abandoned_folders
from aar.sandbox.state_dir import known_workspaces, list_states, remove_unfinished, runtime_root

log = structlog.get_logger(__name__)

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class SweepResult:
    """The result of a sweep.

    Args:
        removed: names of sandboxes that are gone.
        left: reasons by name for the sandboxes that could not be removed completely; the next sweep tries again.
    """

    removed: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


async def remove_abandoned_sandboxes(
    backends: Sequence[SandboxBackend], abandoned: Callable[[str], Awaitable[bool]]
) -> SweepResult:
    """Remove every sandbox of this `aar` home whose campaign is abandoned.

    Temporary folders of killed processes are removed too.

    Args:
        backends: searched once each; one that does not answer is skipped.
        abandoned: returns True if no process runs the campaign of an id; called right before one of its sandboxes is
            removed.
    """
    swept = SweepResult()
    few = asyncio.Semaphore(_AT_ONCE)

    async def remove(backend: SandboxBackend, name: str, campaign_id: str, *, doomed: bool) -> None:
        async with few:
            if not doomed and not await abandoned(campaign_id):
                return
            try:
                await backend.remove(name)
            except Exception as error:  # noqa: BLE001 - one sandbox must not hold up the others
                log.warning("a sandbox could not be removed", name=name, error=str(error))
                swept.left[name] = str(error) or type(error).__name__
            else:
                swept.removed.append(name)

    await asyncio.to_thread(remove_unfinished, runtime_root())
    # Such as a killed measurement of baselines: no process attaches to its sandboxes again.
    gone = await asyncio.to_thread(abandoned_folders)
    for backend in backends:
        try:
            owners = await backend.owners()
        except SandboxUnavailable as error:
            log.info("a sandbox backend does not answer; what it has is left", backend=backend.name, error=str(error))
            continue
        doomed = await asyncio.to_thread(_made_in, gone, backend.name)
        await asyncio.gather(*(remove(backend, *each, doomed=each[0] in doomed) for each in sorted(owners.items())))
    swept.removed.sort()
    swept.left.update(await asyncio.to_thread(_sweep_scratch, gone))
    return swept


def _made_in(folders: Collection[Path], backend: str) -> set[str]:
    """Return the names of a backend's sandboxes whose workspaces lie in some folders."""
    found = ((state["name"], Path(state["workspace"])) for state in list_states(runtime_root(), backend))
    return {name for name, workspace in found if any(workspace.is_relative_to(folder) for folder in folders)}


def _sweep_scratch(gone: Collection[Path]) -> dict[str, str]:
    """Remove temporary folders of dead processes.

    Returns the reasons for those that remain, by folder.
    """
    left: dict[str, str] = {}
    in_use = known_workspaces(runtime_root())
    for folder in gone:
        if any(each.is_relative_to(folder) for each in in_use):
            continue  # a sandbox that is left, or that another home has to sweep
        try:
            workspaces.unmount_below(folder)
            remove_tree(folder)
        except Exception as error:  # noqa: BLE001 - one folder must not hold up the others
            left[str(folder)] = str(error) or type(error).__name__
    return left
