"""The Docker backend: makes, finds, lists and removes sandboxes that are containers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aar.concurrency import best_effort, log_failure, run_to_completion
from aar.errors import AarError, Conflict, SandboxError, SandboxGone, SandboxUnavailable
from aar.processes import HostProcess
from aar.sandbox import workspaces
from aar.sandbox.channel.channel_sandbox import ChannelSandbox
from aar.sandbox.channel.client import ABANDONED_SECONDS, ChannelClient, base_environment, write_config
from aar.sandbox.docker.engine import LABEL, PATH, SHARED_UID, Engine, container_name, container_options, default_tag
from aar.sandbox.incidents import IncidentSink, report_left_behind, report_pruned_tree
from aar.sandbox.isolation import cgroups
from aar.sandbox.isolation.data_leak_check import check_mounts
from aar.sandbox.isolation.kernel import write_replacement_files
from aar.sandbox.protocol import Availability, SandboxRow, SandboxSpec, SandboxStats
from aar.sandbox.state_dir import SandboxStateDir, list_states, runtime_root, unprivileged_uid, validate_sandbox_name

_START_SECONDS = 30.0
_ATTACH_SECONDS = 5.0
_CHECK_SECONDS = 5.0


class DockerBackend:
    """Sandboxes that are containers.

    Args:
        host: address of the engine; empty means the setting ``AAR_DOCKER_HOST``, or the docker SDK's default.
        image: default image; empty means the one that ``aar sandbox build`` makes.
        runtime: another runtime of the engine, such as ``runsc`` (gVisor); empty means its default.
        abandoned_after: seconds without any controller after which a sandbox ends itself.
        on_incident: called with each incident: a thing stopped, refused or lost in any of its sandboxes.
    """

    name = "docker"

    def __init__(
        self,
        host: str = "",
        image: str = "",
        runtime: str = "",
        abandoned_after: float = ABANDONED_SECONDS,
        on_incident: IncidentSink | None = None,
    ) -> None:
        self._engine = Engine(host)
        self._image = image
        self._runtime = runtime
        self._abandoned_after = abandoned_after
        self._on_incident = on_incident
        self._live: dict[str, ChannelSandbox] = {}

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

    async def create(self, spec: SandboxSpec) -> ChannelSandbox:
        """Make and start a sandbox. Raises SandboxUnavailable, SandboxError, Conflict."""
        place = SandboxStateDir(runtime_root(), self.name, validate_sandbox_name(spec.name))
        if place.is_being_created():
            raise Conflict(f"a sandbox named {spec.name} is being created", "wait for it, or choose another name")
        name = container_name(spec.name)
        former = await self._engine.state(name)
        if former is not None and former.running:
            raise Conflict(f"a sandbox named {spec.name} is running", "attach to it, or remove it first")
        workspace = spec.workspace.absolute()
        body = ContainerHostControl(self._engine, name, place, workspace, keep=spec.keep_workspace)
        if former is not None or place.load() is not None:
            report_pruned_tree(self._on_incident, spec.name, spec.campaign_id, await body.release())
        await run_to_completion(partial(place.claim, spec), place.remove)
        image = spec.image or self._image or default_tag("cpu" if not spec.gpus else "gpu")
        channel = ChannelClient(spec.name, place.channel)
        try:
            shared = await self._engine.remaps_users()
            uid = await run_to_completion(partial(self._prepare, spec, place, workspace, shared))
            kernel_files = await run_to_completion(partial(write_replacement_files, place.kernel_files, spec))
            await channel.listen()
            made = await run_to_completion(
                partial(
                    container_options,
                    spec,
                    image=image,
                    channel=place.channel,
                    kernel_files=kernel_files,
                    environment=base_environment(spec, path=PATH),
                    uid=uid,
                    runtime=self._runtime,
                )
            )
            pid = await self._engine.start(name, made)
            body.first_process = HostProcess.of(pid) or HostProcess(pid, 0)
            await channel.connected(body.first_process, _START_SECONDS)
            await run_to_completion(partial(place.save, spec, {}))
        except BaseException as error:
            # The caller needs the first error.
            left = partial(report_left_behind, self._on_incident, spec.name, spec.campaign_id)
            fate = await body.exit_cause() if isinstance(error, SandboxGone) else ""
            await best_effort(channel.close(), left)
            await best_effort(body.release(), left)
            if isinstance(error, SandboxGone):
                raise SandboxError(f"sandbox {spec.name} did not start: {fate or error.message}") from error
            if isinstance(error, SandboxError) and "No such image" in error.message:
                raise SandboxUnavailable(f"the image {image} is missing", "build it: aar sandbox build") from error
            raise
        return self._remember(ChannelSandbox(spec, channel, body, self._on_incident))

    def _prepare(self, spec: SandboxSpec, place: SandboxStateDir, workspace: Path, shared: bool) -> int:
        """Make the container's folders on the host.

        Returns the uid of its commands.
        """
        check_mounts(spec.mounts)
        uid = (None if shared else unprivileged_uid(place)) or SHARED_UID
        bounded = workspaces.prepare(workspace, spec.workspace_bytes, uid if os.getuid() == 0 else None)
        environment = base_environment(spec, path=PATH)
        write_config(
            place.channel, spec, environment, watch_workspace=not bounded, abandoned_after=self._abandoned_after
        )
        return uid

    async def attach(self, spec: SandboxSpec) -> ChannelSandbox:
        """Attach to a sandbox that a former controller made. Raises SandboxGone."""
        place = SandboxStateDir(runtime_root(), self.name, validate_sandbox_name(spec.name))
        name = container_name(spec.name)
        await self._detach_sandbox(spec.name)
        state = await self._engine.state(name)
        if state is None or not state.running or not place.channel.is_dir():
            raise SandboxGone(f"no sandbox named {spec.name} is running", "create it; its workspace is retained")
        body = ContainerHostControl(self._engine, name, place, spec.workspace.absolute(), keep=spec.keep_workspace)
        body.first_process = HostProcess.of(state.pid) or HostProcess(state.pid, 0)
        channel = ChannelClient(spec.name, place.channel)
        sandbox = ChannelSandbox(spec, channel, body, self._on_incident)
        try:
            await channel.listen()
            await channel.connected(body.first_process, _ATTACH_SECONDS)
            await sandbox.adopt_jobs(_ATTACH_SECONDS)
        except SandboxGone:
            await sandbox.destroy()
            raise
        return self._remember(sandbox)

    async def owners(self) -> Mapping[str, str]:
        """Return campaign ids by sandbox name, ended ones included.

        Raises SandboxUnavailable.
        """
        labels = [container["Labels"] for container in await self._engine.list()]
        left = await asyncio.to_thread(lambda: list(list_states(runtime_root(), self.name)))
        owners = {state["name"]: state["campaign"] for state in left}
        owners |= {each[f"{LABEL}.name"]: each[f"{LABEL}.campaign"] for each in labels}
        return dict(sorted(owners.items()))

    async def orphans(self, campaign_id: str | None = None) -> Sequence[str]:
        """Return the names of existing sandboxes, ended ones included.

        Raises SandboxUnavailable.
        """
        return [name for name, owner in (await self.owners()).items() if campaign_id in (None, owner)]

    async def remove(self, name: str) -> None:
        """End and remove a sandbox by name. Does nothing when it is absent."""
        live = self._live.pop(name, None)
        if live is not None:
            await live.destroy()
        container = container_name(validate_sandbox_name(name))
        place = SandboxStateDir(runtime_root(), self.name, name)
        found, state = await self._engine.inspect(container), place.load()
        if found is not None:
            labels = found["Config"]["Labels"]
            workspace, owner = labels[f"{LABEL}.workspace"], labels[f"{LABEL}.campaign"]
        elif state is not None:
            workspace, owner = state["workspace"], state["campaign"]
        else:
            return
        keep = state is None or state.get("keep", True)
        body = ContainerHostControl(self._engine, container, place, Path(workspace), keep=keep)
        report_pruned_tree(self._on_incident, name, owner, await body.release())

    async def close(self) -> None:
        """Close connections. Running sandboxes stay for a later ``attach``."""
        live, self._live = list(self._live.values()), {}
        for sandbox in live:
            await best_effort(sandbox.detach(), log_failure("a sandbox could not be let go of"))
        await best_effort(
            asyncio.to_thread(self._engine.close), log_failure("the Docker engine's connection could not be closed")
        )

    async def _detach_sandbox(self, name: str) -> None:
        """Free the channel of a sandbox held by this object, for a new one."""
        live = self._live.pop(name, None)
        if live is not None:
            await live.detach()

    def _remember(self, sandbox: ChannelSandbox) -> ChannelSandbox:
        self._live[sandbox.spec.name] = sandbox
        return sandbox


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
