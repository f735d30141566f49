"""Inventory of bubblewrap sandboxes, without attaching to them."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from aar.errors import SandboxError, SandboxGone
from aar.processes import HostProcess
from aar.sandbox import workspaces
from aar.sandbox.inventory_row import SandboxRow
from aar.sandbox.isolation import cgroups
from aar.sandbox.protocol import SandboxStats
from aar.sandbox.state_dir import SandboxStateDir, list_states, runtime_root, validate_sandbox_name

_NAME = "bubblewrap"


async def list_bubblewrap_sandboxes() -> list[SandboxRow]:
    """List every sandbox of this `aar` home.

    Dead ones that left something behind are included.
    """
    return await asyncio.to_thread(_rows)


def _rows() -> list[SandboxRow]:
    found = []
    for state in list_states(runtime_root(), _NAME):
        running = "first" in state and HostProcess(state["first"], state["first_started"]).alive()
        group = cgroups.cgroup_from_json(state.get("cgroup", {}))
        used = group.usage() if group is not None and running else None
        if used is not None:
            workspace = workspaces.used_bytes(Path(state["workspace"]))
            used = SandboxStats(used.memory_bytes, used.processes, used.cpu_seconds, workspace)
        age = time.time() - state["created"]
        found.append(SandboxRow(state["name"], _NAME, state["campaign"], running, age, used))
    return found


def bubblewrap_shell_command(name: str) -> list[str]:
    """Return the command line that opens a shell in a running sandbox.

    Entering needs root and ``nsenter``.

    Raises:
        SandboxGone: no sandbox of that name runs.
        SandboxError: this user may not enter it.
    """
    state = SandboxStateDir(runtime_root(), _NAME, validate_sandbox_name(name)).load()
    if (
        state is None
        or "first" not in state
        or not (process := HostProcess(state["first"], state["first_started"])).alive()
    ):
        raise SandboxGone(f"no sandbox named {name} is running")
    if os.getuid() != 0:
        raise SandboxError("a shell in a bubblewrap sandbox needs root", "run it with sudo, or use the docker backend")
    who = ["--setuid", str(state["uid"]), "--setgid", str(state["uid"])]
    spaces = ["-m", "-p", "-n", "-i", "-u"]
    clean = ["env", "-i", "HOME=/workspace", "TERM=xterm", "PATH=/opt/bin:/usr/bin:/bin", "PYTHONPATH=/opt/site"]
    inside = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--", *clean, "bash"]
    return ["nsenter", "-t", str(process.pid), *spaces, *who, "--wd=/workspace", "--", *inside]
