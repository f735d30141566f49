"""Host-side control of a bubblewrap sandbox: its processes, its control group, its folder."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from aar.concurrency import run_to_completion
from aar.errors import SandboxError
from aar.processes import HostProcess, kill_bwrap_processes, reap
from aar.sandbox import workspaces
from aar.sandbox.isolation import cgroups
from aar.sandbox.protocol import SandboxSpec, SandboxStats
from aar.sandbox.state_dir import SandboxStateDir

_REMOVE_SECONDS = 30.0


class BubblewrapHostControl:
    """The ``HostControl`` of a bubblewrap sandbox.

    Killing its first process kills every process in it.

    Args:
        place: its folder.
        workspace: its host directory.
        keep: True if the workspace's content outlives it.
    """

    def __init__(self, place: SandboxStateDir, workspace: Path, *, keep: bool = True) -> None:
        self.workspace = workspace
        self._keep = keep
        self.group: cgroups.Cgroup | None = None
        self._place = place
        self._first: HostProcess | None = None
        self._bwrap = 0

    @classmethod
    def from_state(cls, place: SandboxStateDir, state: dict[str, Any]) -> BubblewrapHostControl:
        """Return the host control of a sandbox that another process started."""
        body = cls(place, Path(state["workspace"]), keep=state.get("keep", True))
        body.group = cgroups.cgroup_from_json(state.get("cgroup", {}))
        if "first" in state:
            body._first = HostProcess(state["first"], state["first_started"])
        return body

    @property
    def alive(self) -> bool:
        """True if the first process of the sandbox runs."""
        return self._first is not None and self._first.alive()

    @property
    def first_process(self) -> HostProcess:
        """The first process of the sandbox."""
        return self._first or HostProcess(-1, 0)

    def will_have(self, spec: SandboxSpec, group: cgroups.Cgroup) -> None:
        """Record the control group before it is made."""
        self._place.save(spec, {**(self._place.load() or {}), "cgroup": cgroups.cgroup_to_json(group)})

    def record_first_process(self, spec: SandboxSpec, first: int) -> None:
        """Record the sandbox's first process in the state file, before it runs anything."""
        self._first = HostProcess.of(first)
        more = {
            "cgroup": cgroups.cgroup_to_json(self.group),
            "first": self.first_process.pid,
            "first_started": self.first_process.started,
            "uid": self.workspace.stat().st_uid,
        }
        self._place.save(spec, more)

    def record_bwrap(self, bwrap: int) -> None:
        """Record bwrap's own process, a child of this one."""
        self._bwrap = bwrap

    def last_output(self) -> str:
        """Return the last output of bwrap or of the server inside."""
        try:
            return (self._place.path / "bwrap.log").read_text(errors="replace").strip()[-500:]
        except OSError:
            return ""

    async def kill(self) -> None:
        """Kill every process of the sandbox at once."""
        if self._first is not None:
            await asyncio.to_thread(self._first.kill)
        elif not self._bwrap:
            await asyncio.to_thread(kill_bwrap_processes, self._place.path)
        if self._bwrap:
            reap(self._bwrap)

    async def release(self) -> int:
        """End the sandbox and remove it, except the content of a retained workspace.

        See ``HostControl.release``.
        """
        await self.kill()
        try:
            return await run_to_completion(self._clean_up)
        finally:
            if self._bwrap:
                reap(self._bwrap)

    async def exit_cause(self) -> str:
        """Return the cause of the sandbox's end, if the kernel reports one."""
        if self.alive:
            return ""
        return "out of memory" if self.group is not None and self.group.kernel_kills() else "its processes ended"

    async def usage(self) -> SandboxStats | None:
        """Return the usage reported by the control group. None without one."""
        used = self.group.usage() if self.group is not None else None
        if used is None:
            return None
        workspace = workspaces.used_bytes(self.workspace)
        return SandboxStats(used.memory_bytes, used.processes, used.cpu_seconds, workspace)

    def _clean_up(self) -> int:
        deadline = time.monotonic() + _REMOVE_SECONDS
        while self.group is not None and not self.group.remove():
            if time.monotonic() > deadline:
                raise SandboxError(f"the control group of {self.workspace.name} still has processes")
            time.sleep(0.01)
        cut = 0
        if self._place.path.exists():
            if self._keep:
                cut = workspaces.release(self.workspace)
            else:
                workspaces.discard(self.workspace)
        self._place.remove()
        return cut
