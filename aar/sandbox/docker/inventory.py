"""Inventory of Docker sandboxes, without attaching to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aar.sandbox import workspaces
from aar.sandbox.docker.container_options import LABEL, container_name
from aar.sandbox.docker.engine import Engine
from aar.sandbox.inventory_row import SandboxRow
from aar.sandbox.isolation import cgroups
from aar.sandbox.protocol import SandboxStats
from aar.sandbox.state_dir import validate_sandbox_name


async def list_docker_sandboxes() -> list[SandboxRow]:
    """List every sandbox of this `aar` home, ended ones included.

    Raises SandboxUnavailable.
    """
    engine = Engine()
    try:
        return [await _row(engine, container) for container in await engine.list()]
    finally:
        await asyncio.to_thread(engine.close)


async def _row(engine: Engine, container: Mapping[str, Any]) -> SandboxRow:
    labels = container["Labels"]
    name = labels[f"{LABEL}.name"]
    running = container["State"] == "running"
    state = await engine.state(container_name(name)) if running else None
    workspace = Path(labels[f"{LABEL}.workspace"])
    used = await asyncio.to_thread(_usage, state.pid, workspace) if state is not None else None
    age = time.time() - float(container["Created"])
    return SandboxRow(name, "docker", labels[f"{LABEL}.campaign"], running, age, used)


def _usage(pid: int, workspace: Path) -> SandboxStats | None:
    group = cgroups.cgroup_of_process(pid)
    used = group.usage() if group is not None else None
    if used is None:
        return None
    return SandboxStats(used.memory_bytes, used.processes, used.cpu_seconds, workspaces.used_bytes(workspace))


def docker_shell_command(name: str) -> list[str]:
    """Return the command line that opens a shell in a running sandbox."""
    return ["docker", "exec", "-it", container_name(validate_sandbox_name(name)), "bash"]
