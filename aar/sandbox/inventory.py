"""Sandboxes of this machine: choose a backend, list them, open a shell in one, remove abandoned ones.

Listing takes no sandbox from its controller. A failure to remove one sandbox or temporary folder does not stop the
others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from aar.errors import NotFound, SandboxUnavailable, UsageError
from aar.fsutil import abandoned_folders, remove_tree
from aar.sandbox import workspaces
from aar.sandbox.bubblewrap import BubblewrapBackend
from aar.sandbox.docker import DockerBackend
from aar.sandbox.incidents import IncidentSink
from aar.sandbox.protocol import Availability, SandboxBackend, SandboxRow
from aar.sandbox.state_dir import known_workspaces, list_states, remove_unfinished

log = structlog.get_logger(__name__)

BACKENDS = ("docker", "bubblewrap")
"""Backends in order of preference."""
_AT_ONCE = 4


async def list_availability() -> Mapping[str, Availability]:
    """Check every backend on this machine, in order of preference.

    The result names working backends, and the fix for each of the others.
    """
    backends = [get_backend(name) for name in BACKENDS]
    found = await asyncio.gather(*(backend.check() for backend in backends))
    for backend in backends:
        await backend.close()
    return dict(zip(BACKENDS, found, strict=True))


async def choose_backend(preference: str = "auto", on_incident: IncidentSink | None = None) -> SandboxBackend:
    """Choose a sandbox backend that works on this machine.

    Args:
        preference: ``docker``, ``bubblewrap``, or ``auto``: the first of the two that works here.
        on_incident: called with each incident: a thing stopped, refused or lost in any sandbox.

    Raises:
        SandboxUnavailable: it does not work here; names the missing part of each backend and the remedy.
        UsageError: there is no backend of that name.
    """
    names = BACKENDS if preference == "auto" else (preference,)
    missing, remedies = [], []
    for name in names:
        backend = get_backend(name, on_incident)
        found = await backend.check()
        if found.ok:
            return backend
        await backend.close()
        missing.append(f"{name}: {found.detail}")
        remedies.append(f"{name}: {found.remedy}")
    raise SandboxUnavailable(f"no sandbox works here ({'; '.join(missing)})", "; or ".join(remedies))


def get_backend(name: str, on_incident: IncidentSink | None = None) -> SandboxBackend:
    """Return the backend of that name, available or not. Raises UsageError."""
    if name == "docker":
        return DockerBackend(on_incident=on_incident)
    if name == "bubblewrap":
        return BubblewrapBackend(on_incident=on_incident)
    raise UsageError(
        f"unknown sandbox backend: got {name!r}, expected auto, {', '.join(BACKENDS)}", "choose one of these"
    )


async def list_sandboxes() -> list[SandboxRow]:
    """List every sandbox of this `aar` home with its current usage.

    Backends that do not answer are left out.
    """
    rows: list[SandboxRow] = []
    for name in BACKENDS:
        backend = get_backend(name)
        try:
            rows += await backend.list(usage=True)
        except SandboxUnavailable as error:
            log.info("a sandbox backend does not answer", backend=name, error=str(error))
        finally:
            await backend.close()
    return rows


async def shell_command(name: str) -> list[str]:
    """Return the command line that opens a shell in a running sandbox.

    Raises:
        NotFound: none of that name runs.
        SandboxError: this user may not enter it.
    """
    for row in await list_sandboxes():
        if row.name == name and row.running:
            return list(get_backend(row.backend).shell_command(name))
    raise NotFound(f"no sandbox named {name} is running", "see: aar sandbox list")


def campaigns_with_sandboxes() -> set[str]:
    """Return campaign ids that have a sandbox in this machine's files.

    The backend need not answer.
    """
    return {state["campaign"] for name in BACKENDS for state in list_states(name)}


async def prune(abandoned: Callable[[str], Awaitable[bool]]) -> SweepResult:
    """Remove every sandbox whose campaign is ``abandoned``.

    See ``remove_abandoned_sandboxes``.
    """
    backends = [get_backend(name) for name in BACKENDS]
    try:
        return await remove_abandoned_sandboxes(backends, abandoned)
    finally:
        for backend in backends:
            await backend.close()


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

    async def remove(backend: SandboxBackend, row: SandboxRow, *, doomed: bool) -> None:
        async with few:
            if not doomed and not await abandoned(row.campaign_id):
                return
            try:
                await backend.remove(row.name)
            except Exception as error:  # noqa: BLE001 - one sandbox must not hold up the others
                log.warning("a sandbox could not be removed", name=row.name, error=str(error))
                swept.left[row.name] = str(error) or type(error).__name__
            else:
                swept.removed.append(row.name)

    await asyncio.to_thread(remove_unfinished)
    # Such as a killed measurement of baselines: no process attaches to its sandboxes again.
    gone = await asyncio.to_thread(abandoned_folders)
    for backend in backends:
        try:
            rows = await backend.list()
        except SandboxUnavailable as error:
            log.info("a sandbox backend does not answer; what it has is left", backend=backend.name, error=str(error))
            continue
        doomed = await asyncio.to_thread(_made_in, gone, backend.name)
        await asyncio.gather(*(remove(backend, each, doomed=each.name in doomed) for each in rows))
    swept.removed.sort()
    swept.left.update(await asyncio.to_thread(_sweep_scratch, gone))
    return swept


def _made_in(folders: Collection[Path], backend: str) -> set[str]:
    """Return the names of a backend's sandboxes whose workspaces lie in some folders."""
    found = ((state["name"], Path(state["workspace"])) for state in list_states(backend))
    return {name for name, workspace in found if any(workspace.is_relative_to(folder) for folder in folders)}


def _sweep_scratch(gone: Collection[Path]) -> dict[str, str]:
    """Remove temporary folders of dead processes.

    Returns the reasons for those that remain, by folder.
    """
    left: dict[str, str] = {}
    in_use = known_workspaces()
    for folder in gone:
        if any(each.is_relative_to(folder) for each in in_use):
            continue  # a sandbox that is left, or that another home has to sweep
        try:
            workspaces.unmount_below(folder)
            remove_tree(folder)
        except Exception as error:  # noqa: BLE001 - one folder must not hold up the others
            left[str(folder)] = str(error) or type(error).__name__
    return left
