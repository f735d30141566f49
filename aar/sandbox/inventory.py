"""Inventory of sandboxes on this machine, for people: list, shell, prune.

Listing takes no sandbox from its controller.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aar.errors import NotFound, SandboxUnavailable
from aar.sandbox.backends import BACKENDS, get_backend
from aar.sandbox.bubblewrap import inventory as bubblewrap
from aar.sandbox.cleanup import SweepResult, remove_abandoned_sandboxes
from aar.sandbox.docker import inventory as docker
from aar.sandbox.inventory_row import SandboxRow
from aar.sandbox.state_dir import list_states, runtime_root


async def list_sandboxes() -> list[SandboxRow]:
    """List every sandbox of this `aar` home with its current usage.

    Backends that do not answer are left out.
    """
    rows = await bubblewrap.list_bubblewrap_sandboxes()
    try:
        rows += await docker.list_docker_sandboxes()
    except SandboxUnavailable:
        return rows
    return rows


async def shell_command(name: str) -> list[str]:
    """Return the command line that opens a shell in a running sandbox.

    Raises:
        NotFound: none of that name runs.
        SandboxError: this user may not enter it.
    """
    for row in await list_sandboxes():
        if row.name == name and row.running:
            return (
                docker.docker_shell_command(name)
                if row.backend == "docker"
                else bubblewrap.bubblewrap_shell_command(name)
            )
    raise NotFound(f"no sandbox named {name} is running", "see: aar sandbox list")


def campaigns_with_sandboxes() -> set[str]:
    """Return campaign ids that have a sandbox in this machine's files.

    The backend need not answer.
    """
    return {state["campaign"] for name in BACKENDS for state in list_states(runtime_root(), name)}


async def prune(abandoned: Callable[[str], Awaitable[bool]]) -> SweepResult:
    """Remove every sandbox whose campaign is ``abandoned``.

    See ``cleanup.remove_abandoned_sandboxes``.
    """
    backends = [get_backend(name) for name in BACKENDS]
    try:
        return await remove_abandoned_sandboxes(backends, abandoned)
    finally:
        for backend in backends:
            await backend.close()
