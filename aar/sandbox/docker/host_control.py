"""Host-side control of a container: ended through the engine, measured through control groups."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from aar.concurrency import run_to_completion
from aar.errors import SandboxError, SandboxUnavailable
from aar.processes import HostProcess
from aar.sandbox import workspaces
from aar.sandbox.docker.engine import Engine
from aar.sandbox.isolation import cgroups
from aar.sandbox.protocol import SandboxStats
from aar.sandbox.state_dir import SandboxStateDir


class ContainerHostControl:
    """The ``HostControl`` of a Docker sandbox.

    Args:
        engine: the engine that runs it.
        container: its name there.
        place: its folder on this host.
        workspace: its host directory.
        keep: True if the workspace's content outlives it.
    """

    def __init__(
        self, engine: Engine, container: str, place: SandboxStateDir, workspace: Path, *, keep: bool = True
    ) -> None:
        self.first_process = HostProcess(-1, 0)
        self._engine = engine
        self._container = container
        self._place = place
        self._workspace = workspace
        self._keep = keep

    async def kill(self) -> None:
        """Kill every process of the sandbox at once.

        An engine that does not answer has ended, or will end, its containers.
        """
        try:
            await self._engine.kill(self._container)
        except SandboxUnavailable:
            if os.getuid() == 0 and self.first_process.alive():
                await asyncio.to_thread(self.first_process.kill)

    async def release(self) -> int:
        """End the sandbox and remove it, except the content of a retained workspace.

        See ``HostControl.release``.
        """
        await self._engine.remove(self._container)
        cut = await run_to_completion(self._release_workspace)
        await run_to_completion(self._place.remove)
        return cut

    async def exit_cause(self) -> str:
        """Return the cause of the container's end, as the engine reports it."""
        try:
            state = await self._engine.state(self._container)
        except (SandboxUnavailable, SandboxError):
            return "the Docker engine does not answer"
        if state is None:
            return "its container was removed"
        if state.running:
            return ""
        return "out of memory" if state.out_of_memory else f"its container ended with code {state.exit_code}"

    async def usage(self) -> SandboxStats | None:
        """Return usage from the kernel's accounting.

        None where the counters are not those of this host.
        """
        return await asyncio.to_thread(self._usage)

    def _release_workspace(self) -> int:
        if self._keep:
            return workspaces.release(self._workspace)
        workspaces.discard(self._workspace)
        return 0

    def _usage(self) -> SandboxStats | None:
        group = cgroups.cgroup_of_process(self.first_process.pid)
        used = group.usage() if group is not None else None
        if used is None:
            return None
        return SandboxStats(used.memory_bytes, used.processes, used.cpu_seconds, workspaces.used_bytes(self._workspace))
