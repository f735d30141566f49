"""Client of a Docker engine: the few calls that sandboxes need, and the options of their containers.

Each call runs in a thread, because the docker SDK blocks. The options are every hardening of the engine, under the
API's names.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from aar import __version__
from aar.concurrency import run_to_completion
from aar.errors import BackendAway, Conflict, SandboxError
from aar.sandbox.channel.client import CHANNEL_TARGET, SERVER_SOURCE, SERVER_TARGET, server_command
from aar.sandbox.isolation.kernel import ReplacementFiles, hidden_in_proc, hidden_in_sys
from aar.sandbox.protocol import WORKSPACE, SandboxSpec
from aar.sandbox.state_dir import home_scope
from aar.settings import get_settings

_T = TypeVar("_T")
_TIMEOUT_SECONDS = 60
_POOL = 32
_PROBE_SECONDS = 5
_DEFAULT_HOST = "unix:///var/run/docker.sock"
_START = "start the Docker engine and give this user access to its socket"
SHARED_UID = 10001
"""Uid of containers whose engine, or whose controller, cannot assign separate ones."""
PATH = "/opt/venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
LABEL = "org.aar"
_TMP = "rw,nosuid,nodev,size=256m,mode=1777"
_SHM_BYTES = 256 * 1024**2
Kind = Literal["cpu", "gpu"]
"""Kinds of images. ``cpu``: numpy, scipy, scikit-learn. ``gpu``: also PyTorch and transformers."""


class Engine:
    """A connection to the engine of the setting, or the docker SDK's default, opened at the first call."""

    def __init__(self) -> None:
        self._host = get_settings().docker_host
        self._client: Any = None
        self._remaps: bool | None = None
        self._lock = asyncio.Lock()

    async def call(self, work: Callable[[Any], _T]) -> _T:
        """Run ``work(api)`` with the SDK's low-level client in a thread.

        Raises:
            BackendAway: the engine does not answer.
            SandboxError: the engine refused.
        """
        import docker.errors
        import requests

        try:
            async with self._lock:
                if self._client is None:
                    self._client = await asyncio.to_thread(self._open)
            return await run_to_completion(functools.partial(self._ask, work, self._client))
        except docker.errors.APIError as error:
            kind = Conflict if error.status_code == 409 else SandboxError
            raise kind(f"the Docker engine refused: {error.explanation or error}") from error
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError) as error:
            raise BackendAway(f"the Docker engine does not answer ({_first_line(error)})", _START) from error

    def _ask(self, work: Callable[[Any], _T], api: Any) -> _T:
        # While an engine is away it is asked again and again: see _probe.
        self._probe()
        return work(api)

    def _probe(self) -> None:
        _probe(self._host or os.environ.get("DOCKER_HOST", _DEFAULT_HOST))

    def _open(self) -> Any:
        import docker

        self._probe()
        if self._host:
            client = docker.DockerClient(base_url=self._host, timeout=_TIMEOUT_SECONDS, max_pool_size=_POOL)
        else:
            client = docker.from_env(timeout=_TIMEOUT_SECONDS, max_pool_size=_POOL)
        return client.api

    async def version(self) -> Mapping[str, Any]:
        """Return the engine's version data: ``ServerVersion``, ``Runtimes``, and more.

        Raises SandboxUnavailable.
        """
        info: Mapping[str, Any] = await self.call(lambda api: api.info())
        return info

    async def remaps_users(self) -> bool:
        """Return True if the containers' uids differ on the host.

        The engine is asked once. Raises SandboxUnavailable.
        """
        if self._remaps is None:
            security = (await self.version()).get("SecurityOptions") or []
            self._remaps = any(option.startswith(("name=userns", "name=rootless")) for option in security)
        return self._remaps

    async def image(self, tag: str) -> Mapping[str, Any] | None:
        """Return the image of that tag, or None."""
        return await self.call(lambda api: unless_status(lambda: api.inspect_image(tag), 404))

    async def start(self, name: str, options: ContainerOptions) -> int:
        """Create and start a container and return its first process's host pid.

        Raises Conflict, SandboxError.
        """

        def run(api: Any) -> int:
            host = api.create_host_config(**options.host)
            host["MaskedPaths"] = options.masked  # the SDK knows no argument for it
            made = api.create_container(**options.container, name=name, host_config=host)
            api.start(made["Id"])
            return int(api.inspect_container(made["Id"])["State"]["Pid"])

        return await self.call(run)

    async def inspect(self, name: str) -> Mapping[str, Any] | None:
        """Return all data of a container. None when there is no such container."""
        return await self.call(lambda api: unless_status(lambda: api.inspect_container(name), 404))

    async def kill(self, name: str) -> None:
        """Kill a container. Does nothing when it is not running."""
        await self.call(lambda api: unless_status(lambda: api.kill(name), 404, 409))

    async def remove(self, name: str) -> None:
        """Kill and remove a container. Does nothing when it is absent or being removed."""
        await self.call(lambda api: unless_status(lambda: api.remove_container(name, force=True, v=True), 404, 409))

    async def list(self, campaign_id: str | None = None) -> list[Mapping[str, Any]]:
        """List all sandboxes of this `aar` home, running or not.

        The rows have the engine's short form.
        """
        filters = [f"{LABEL}.scope={home_scope()}"]
        if campaign_id is not None:
            filters.append(f"{LABEL}.campaign={campaign_id}")
        found: list[Mapping[str, Any]] = await self.call(
            lambda api: api.containers(all=True, filters={"label": filters})
        )
        return found

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None


def _probe(host: str) -> None:
    """Connect once to a local engine's socket. Raises OSError.

    The SDK leaks a descriptor where no engine listens.
    """
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_SECONDS)
            probe.connect(host.removeprefix("unix://"))


def unless_status(work: Callable[[], Any], *statuses: int) -> Any:
    """Return the result of a call to the engine. None where the engine answers one of these statuses."""
    import docker.errors

    try:
        return work()
    except docker.errors.APIError as error:
        if error.status_code not in statuses:
            raise
        return None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """The body of ``POST /containers/create``.

    Args:
        container: keyword arguments of the docker SDK's ``create_container``.
        host: keyword arguments of its ``create_host_config``.
        masked: paths below ``/proc`` and ``/sys`` that are shown empty, in place of the engine's own list.
    """

    container: dict[str, Any]
    host: dict[str, Any]
    masked: list[str]


def container_name(name: str) -> str:
    """Return the engine's name for a sandbox.

    It differs from those of another `aar` home on the same engine.
    """
    return f"aar-{home_scope()}-{name}"


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
    container = {
        "image": image,
        "command": server_command(),
        "entrypoint": [],
        "user": f"{uid}:{uid}",
        "environment": environment,
        "labels": {
            f"{LABEL}.scope": home_scope(),
            f"{LABEL}.name": spec.name,
            f"{LABEL}.campaign": spec.campaign_id,
            f"{LABEL}.workspace": str(spec.workspace.absolute()),
        },
        "working_dir": WORKSPACE,
        "hostname": "sandbox",
        "network_disabled": True,
    }
    return ContainerOptions(container, host, masked)


def default_tag(kind: Kind) -> str:
    """Return the image tag of that kind for this version of `aar`."""
    return f"aar-sandbox-{kind}:{__version__}"
