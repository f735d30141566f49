"""Options of a container: every hardening of the engine, under the API's names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aar.sandbox.channel.server_launch import CHANNEL_TARGET, SERVER_SOURCE, SERVER_TARGET, server_command
from aar.sandbox.isolation.kernel_files import ReplacementFiles, hidden_in_proc, hidden_in_sys
from aar.sandbox.protocol import WORKSPACE, SandboxSpec
from aar.sandbox.state_dir import home_scope

SHARED_UID = 10001
"""Uid of containers whose engine, or whose controller, cannot assign separate ones."""
PATH = "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
LABEL = "org.aar"
_TMP = "rw,nosuid,nodev,size=256m,mode=1777"
_SHM_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """The body of ``POST /containers/create``.

    Args:
        image, command, user, env, labels, working_dir, hostname: as the engine means them.
        host: keyword arguments of the docker SDK's ``create_host_config``.
        masked: paths below ``/proc`` and ``/sys`` that are shown empty, in place of the engine's own list.
    """

    image: str
    user: str
    host: dict[str, Any]
    labels: dict[str, str]
    environment: dict[str, str]
    masked: list[str]
    command: list[str] = field(default_factory=lambda: server_command())
    working_dir: str = WORKSPACE
    hostname: str = "sandbox"


def container_name(name: str) -> str:
    """Return the engine's name for a sandbox.

    It differs from those of another `aar` home on the same engine.
    """
    return f"aar-{home_scope()}-{name}"


def container_labels(spec: SandboxSpec) -> dict[str, str]:
    """Return the labels that identify a sandbox."""
    return {
        f"{LABEL}.scope": home_scope(),
        f"{LABEL}.name": spec.name,
        f"{LABEL}.campaign": spec.campaign_id,
        f"{LABEL}.workspace": str(spec.workspace.absolute()),
    }


def container_options(
    spec: SandboxSpec,
    *,
    image: str,
    channel: Path,
    kernel_files: ReplacementFiles,
    environment: dict[str, str],
    uid: int,
    runtime: str = "",
) -> ContainerOptions:
    """Return the container options of a spec.

    Blocks, because it checks the features of this kernel.

    No network; no capability, now or later; a user that the host does not know; a read-only root; none of the
    kernel's counters of the whole machine; memory, processes, CPU and open files bounded, no swap; no log, because a
    log would fill the host's disk.

    Args:
        image: image to run.
        channel: host directory for ``/run/aar``.
        kernel_files: files to show below ``/proc``.
        environment: of every command.
        uid: that its commands have, inside and on the host.
        runtime: name of another runtime of the engine, such as ``runsc``; empty means its default.
    """
    binds = [
        f"{spec.workspace.absolute()}:{WORKSPACE}:rw",
        f"{channel}:{CHANNEL_TARGET}:ro",
        f"{SERVER_SOURCE}:{SERVER_TARGET}:ro",
        *(f"{file}:{path}:ro" for path, file in kernel_files.fixed.items()),
        *(f"{m.source.absolute()}:{m.target}:{'rw' if m.writable else 'ro'}" for m in spec.mounts),
    ]
    host: dict[str, Any] = {
        "network_mode": "none",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "tmpfs": {"/tmp": _TMP},  # noqa: S108 - the sandbox's own
        "binds": binds,
        "mem_limit": spec.memory_bytes,
        "memswap_limit": spec.memory_bytes,
        "pids_limit": spec.max_processes,
        "nano_cpus": int(spec.cpus * 1e9),
        "shm_size": _SHM_BYTES,
        "ipc_mode": "private",
        "log_config": {"Type": "none", "Config": {}},
        "restart_policy": {"Name": "no"},
        "init": False,
    }
    if spec.cores:
        host["cpuset_cpus"] = ",".join(str(core) for core in spec.cores)
    if runtime:
        host["runtime"] = runtime
    if spec.gpus:
        host["device_requests"] = [{"Driver": "", "DeviceIDs": list(spec.gpus), "Capabilities": [["gpu"]]}]
    masked = [*hidden_in_proc(gpu=bool(spec.gpus)).paths, *hidden_in_sys(gpu=bool(spec.gpus)).paths]
    return ContainerOptions(
        image=image,
        user=f"{uid}:{uid}",
        host=host,
        labels=container_labels(spec),
        environment=environment,
        masked=masked,
    )
