"""Launch of the server inside a sandbox: its command, files and configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aar.sandbox import server
from aar.sandbox.isolation import seccomp
from aar.sandbox.protocol import WORKSPACE, SandboxSpec

SERVER_SOURCE = Path(server.__file__).parent
"""Host directory with the server's code; shown inside, read-only, at ``SERVER_TARGET``."""
SERVER_TARGET = "/opt/aar/server"
CHANNEL_TARGET = "/run/aar"
"""Place of the channel's host directory inside, read-only."""
SOCKET_NAME = "sock"
CONFIG_NAME = "config.json"
OOM_FILES = (
    "/run/cgroup/memory.oom_control",
    "/run/cgroup/memory.events",
    "/sys/fs/cgroup/memory/memory.oom_control",
    "/sys/fs/cgroup/memory.events",
)
"""Possible places inside of the kernel's count of out-of-memory kills; the first match wins."""
ABANDONED_SECONDS = 24 * 3600.0
"""Seconds without a controller after which a sandbox ends."""


def server_command(python: str = "python3") -> list[str]:
    """Return the argument vector of the sandbox's first process.

    ``-I -S``: nothing in the workspace is ever imported.
    """
    start = "import sys; sys.path.insert(0, '/opt/aar'); from server.main import main; main()"
    return [python, "-I", "-S", "-B", "-c", start, f"{CHANNEL_TARGET}/{CONFIG_NAME}"]


def base_environment(spec: SandboxSpec, *, path: str, site: str = "") -> dict[str, str]:
    """Build the environment of every command.

    The spec's variables extend a small clean set; the host's are left out.

    Args:
        spec: its ``env`` wins, but its PYTHONPATH is put in front of ``site`` and does not replace it.
        path: PATH inside.
        site: directory inside that holds the scientific packages, where they are not in Python's own place.
    """
    threads = str(max(1, math.ceil(spec.cpus)))
    env = {
        "PATH": path,
        "HOME": WORKSPACE,
        "USER": "researcher",
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads),
        **spec.env,
    }
    if site:
        env["PYTHONPATH"] = f"{spec.env['PYTHONPATH']}:{site}" if spec.env.get("PYTHONPATH") else site
    return env


def write_config(
    directory: Path,
    spec: SandboxSpec,
    env: dict[str, str],
    *,
    watch_workspace: bool,
    watch_memory: bool = False,
    rlimits: dict[str, int] | None = None,
    abandoned_after: float = ABANDONED_SECONDS,
    oom_files: Sequence[str] = OOM_FILES,
) -> None:
    """Write the server's configuration into the channel's directory.

    Args:
        directory: the channel's.
        env: of every command.
        watch_workspace, watch_memory: True if the server must limit them, because the kernel does not.
        rlimits: further resource limits, by the names of ``server.limits``.
        abandoned_after: seconds without any controller after which the sandbox ends itself.
        oom_files: where the kernel's count of out-of-memory kills may be found inside.
    """
    config: dict[str, Any] = {
        "socket": f"{CHANNEL_TARGET}/{SOCKET_NAME}",
        "env": env,
        "rlimits": {"core": 0, "nofile": 4096, "fsize": spec.workspace_bytes, **(rlimits or {})},
        "lifetime": spec.lifetime_seconds,
        "abandoned_after": abandoned_after,
        "quota": spec.workspace_bytes if watch_workspace else None,
        "memory": spec.memory_bytes if watch_memory else None,
        "oom_files": list(oom_files),
        "seccomp": seccomp.filter_programs(),
    }
    path = directory / CONFIG_NAME
    path.write_text(json.dumps(config))
    path.chmod(0o644)
