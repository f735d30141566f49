"""The Docker backend: makes, finds, lists and removes sandboxes that are containers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from aar.concurrency import best_effort, log_failure, run_to_completion
from aar.errors import AarError, SandboxError, SandboxUnavailable
from aar.processes import HostProcess
from aar.sandbox import workspaces
from aar.sandbox.channel.channel_sandbox import ChannelBackend, HostControl
from aar.sandbox.channel.client import ABANDONED_SECONDS, base_environment, write_config
from aar.sandbox.docker.engine import (
    LABEL,
    PATH,
    SHARED_UID,
    ContainerOptions,
    Engine,
    container_name,
    container_options,
    default_tag,
)
from aar.sandbox.incidents import IncidentSink
from aar.sandbox.isolation.cgroups import Cgroup, cgroup_of_process
from aar.sandbox.isolation.data_leak_check import check_mounts
from aar.sandbox.isolation.kernel import write_replacement_files
from aar.sandbox.protocol import Availability, SandboxRow, SandboxSpec
from aar.sandbox.state_dir import SandboxStateDir, list_states, unprivileged_uid, validate_sandbox_name

_CHECK_SECONDS = 5.0


class DockerBackend(ChannelBackend["ContainerHostControl"]):
    """Sandboxes that are containers.

    Args:
        image: default image; empty means the one that ``aar sandbox build`` makes.
        runtime: another runtime of the engine, such as ``runsc`` (gVisor); empty means its default.
        abandoned_after, on_incident: as for ``ChannelBackend``.
    """

    name = "docker"

    def __init__(
        self,
        image: str = "",
        runtime: str = "",
        abandoned_after: float = ABANDONED_SECONDS,
        on_incident: IncidentSink | None = None,
    ) -> None:
        super().__init__(abandoned_after, on_incident)
        self._engine = Engine()
        self._image = image
        self._runtime = runtime

    async def check(self) -> Availability:
        """Check that the engine answers and has the image and the requested runtime."""
        try:
            async with asyncio.timeout(_CHECK_SECONDS):
                info = await self._engine.version()
                version = f"Docker engine {info.get('ServerVersion', '?')}"
                if self._runtime and self._runtime not in info.get("Runtimes", {}):
                    return Availability(
                        False, f"{version} has no runtime {self._runtime}", "install and register the runtime"
                    )
                tag = self._image or default_tag("cpu")
                if await self._engine.image(tag) is None:
                    return Availability(False, f"{version} has no image {tag}", "build it: aar sandbox build")
        except TimeoutError:
            return Availability(False, "the Docker engine does not answer in time", "restart the Docker engine")
        except AarError as error:
            return Availability(False, error.message, error.remedy)
        return Availability(True, f"{version}, image {tag}", notes=_notes(info.get("SecurityOptions") or []))

    async def list(self, campaign_id: str | None = None, *, usage: bool = False) -> Sequence[SandboxRow]:
        """List the existing sandboxes by name, ended ones included.

        Raises SandboxUnavailable.
        """
        left = await asyncio.to_thread(list_states, self.name)
        rows = {
            state["name"]: SandboxRow(
                state["name"], self.name, state["campaign"], running=False, age_seconds=time.time() - state["created"]
            )
            for state in left
            if campaign_id in (None, state["campaign"])
        }
        for container in await self._engine.list(campaign_id):
            labels, running = container["Labels"], container["State"] == "running"
            name, age = labels[f"{LABEL}.name"], time.time() - float(container["Created"])
            host = await self._find(name) if usage and running else None
            used = await host.usage() if host is not None else None
            rows[name] = SandboxRow(name, self.name, labels[f"{LABEL}.campaign"], running, age, used)
        return [rows[name] for name in sorted(rows)]

    def shell_command(self, name: str) -> Sequence[str]:
        """Return the command line that opens a shell in a running sandbox."""
        return ["docker", "exec", "-it", container_name(validate_sandbox_name(name)), "bash"]

    async def close(self) -> None:
        """Close connections. Running sandboxes stay for a later ``attach``."""
        await super().close()
        await best_effort(
            asyncio.to_thread(self._engine.close), log_failure("the Docker engine's connection could not be closed")
        )

    async def _find(self, name: str) -> ContainerHostControl | None:
        place = SandboxStateDir(self.name, name)
        container, state = await self._engine.inspect(container_name(name)), place.load()
        keep = state is None or state.get("keep", True)
        if container is not None:
            labels = container["Config"]["Labels"]
            workspace, campaign_id = labels[f"{LABEL}.workspace"], labels[f"{LABEL}.campaign"]
        elif state is not None:
            workspace, campaign_id = state["workspace"], state["campaign"]
        else:
            return None
        host = ContainerHostControl(self._engine, name, place, campaign_id, Path(workspace), keep=keep)
        if container is not None and container["State"]["Running"]:
            host.record_pid(int(container["State"]["Pid"]))
        return host

    def _new_control(self, spec: SandboxSpec) -> ContainerHostControl:
        place, workspace = SandboxStateDir(self.name, spec.name), spec.workspace.absolute()
        return ContainerHostControl(
            self._engine, spec.name, place, spec.campaign_id, workspace, keep=spec.keep_workspace
        )

    async def _start(self, spec: SandboxSpec, host: ContainerHostControl) -> None:
        image = spec.image or self._image or default_tag("cpu" if not spec.gpus else "gpu")
        shared = await self._engine.remaps_users()
        options = await run_to_completion(partial(self._prepare, spec, host, image, shared))
        try:
            pid = await self._engine.start(container_name(spec.name), options)
        except SandboxError as error:
            if "No such image" in error.message:
                raise SandboxUnavailable(f"the image {image} is missing", "build it: aar sandbox build") from error
            raise
        host.record_pid(pid)
        await run_to_completion(partial(host.place.save, spec, {}))

    def _prepare(self, spec: SandboxSpec, host: ContainerHostControl, image: str, shared: bool) -> ContainerOptions:
        """Make the container's folders on the host.

        Returns its options.
        """
        check_mounts(spec.mounts)
        place = host.place
        uid = (None if shared else unprivileged_uid(place)) or SHARED_UID
        bounded = workspaces.prepare(host.workspace, spec.workspace_bytes, uid if os.getuid() == 0 else None)
        environment = base_environment(spec, path=PATH)
        write_config(
            place.channel, spec, environment, watch_workspace=not bounded, abandoned_after=self._abandoned_after
        )
        return container_options(
            spec,
            image=image,
            channel=place.channel,
            kernel_files=write_replacement_files(place.kernel_files, spec),
            environment=environment,
            uid=uid,
            runtime=self._runtime,
        )


def _notes(security: Sequence[str]) -> list[str]:
    notes = []
    if not any("seccomp" in option for option in security):
        notes.append("the engine has no seccomp: only the sandbox's own system call filter holds")
    if os.getuid() != 0:
        notes.append("workspace size is watched, not fixed: mounting a file system needs root")
        notes.append(
            f"all sandboxes run under uid {SHARED_UID}, apart by namespaces only; so do limits that go by user"
        )
        notes.append(f"files that commands made belong to uid {SHARED_UID}: removing them needs root")
    elif not workspaces.can_mount():
        notes.append("workspace size is watched, not fixed: this machine cannot mount an ext4 file")
    return notes


class ContainerHostControl(HostControl):
    """The ``HostControl`` of a Docker sandbox.

    Args:
        engine: the engine that runs it.
        name: the sandbox's name.
        place, campaign_id, workspace, keep: as for ``HostControl``.
    """

    def __init__(
        self, engine: Engine, name: str, place: SandboxStateDir, campaign_id: str, workspace: Path, *, keep: bool
    ) -> None:
        super().__init__(place, campaign_id, workspace, keep=keep)
        self._engine = engine
        self._container = container_name(name)
        self._running = False

    def record_pid(self, pid: int) -> None:
        """Record the host pid of its first process, which runs."""
        self.first_process = HostProcess.of(pid) or HostProcess(pid, 0)
        self._running = True

    @property
    def running(self) -> bool:
        """True if the container ran when it was found."""
        return self._running

    def cgroup(self) -> Cgroup | None:
        """Return the first process's group. None where it is not a process of this host."""
        return cgroup_of_process(self.first_process.pid)

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
        cut = await run_to_completion(self.release_workspace)
        await run_to_completion(self.place.remove)
        return cut

    async def exit_cause(self) -> str:
        """Return the cause of the container's end, as the engine reports it."""
        try:
            container = await self._engine.inspect(self._container)
        except (SandboxUnavailable, SandboxError):
            return "the Docker engine does not answer"
        if container is None:
            return "its container was removed"
        state = container["State"]
        if state["Running"]:
            return ""
        return "out of memory" if state["OOMKilled"] else f"its container ended with code {state['ExitCode']}"
