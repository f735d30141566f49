"""The sandboxes of every backend: the ``Sandbox`` over a channel, and what backends have in common."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import structlog

from aar.concurrency import best_effort, log_failure, run_to_completion
from aar.errors import Conflict, NotFound, SandboxError, SandboxGone, TransferRefused
from aar.processes import HostProcess
from aar.sandbox import workspaces
from aar.sandbox.channel import transfer
from aar.sandbox.channel.client import ABANDONED_SECONDS, ChannelClient, ChannelReply
from aar.sandbox.incidents import Incident, IncidentKind, IncidentSink, report_left_behind, report_pruned_tree
from aar.sandbox.isolation.cgroups import Cgroup
from aar.sandbox.protocol import WORKSPACE, ExecResult, ExitReason, JobStatus, SandboxSpec, SandboxStats
from aar.sandbox.state_dir import SandboxStateDir

log = structlog.get_logger(__name__)

GRACE_SECONDS = 15.0
"""Seconds after a command's time limit for the server to kill it, before the sandbox is ended."""
CALL_SECONDS = 60.0
"""Longest duration of any other request, in seconds."""
_KILL_SECONDS = 10.0
_TEXT_LIMIT = 1 << 20
_START_SECONDS = 30.0
_ATTACH_SECONDS = 5.0
_INCIDENT_REASONS = (ExitReason.OUT_OF_MEMORY, ExitReason.TIME_LIMIT, ExitReason.STOPPED)


class HostControl(ABC):
    """Operations on one sandbox that only its backend can do, all from outside.

    Args:
        place: its folder on this host.
        campaign_id: its campaign.
        workspace: its host directory.
        keep: True if the workspace's content outlives it.
    """

    def __init__(self, place: SandboxStateDir, campaign_id: str, workspace: Path, *, keep: bool) -> None:
        self.place = place
        self.campaign_id = campaign_id
        self.workspace = workspace
        self.keep = keep
        self.first_process = HostProcess(-1, 0)

    @property
    @abstractmethod
    def running(self) -> bool:
        """True if the sandbox ran when it was found."""

    @abstractmethod
    async def kill(self) -> None:
        """Kill every process of the sandbox at once.

        Its remains stay for ``release``.
        """

    @abstractmethod
    async def release(self) -> int:
        """End the sandbox and remove it, except the content of a retained workspace.

        Safe to call twice.

        Returns the number of files and folders in the workspace that nest too deep to be retained.
        """

    @abstractmethod
    async def exit_cause(self) -> str:
        """Return one clause on the cause of its end, such as "out of memory".

        Empty when unknown.
        """

    async def start_failure(self) -> str:
        """Return one line on the cause of a start that failed. Empty when unknown."""
        return await self.exit_cause()

    @abstractmethod
    def cgroup(self) -> Cgroup | None:
        """Return the control group that accounts for the sandbox. None where the host has none."""

    async def usage(self) -> SandboxStats | None:
        """Return the sandbox's usage from the host's accounting. None where the host has none.

        ``workspace_bytes`` is -1 when unknown.
        """
        return await asyncio.to_thread(self.usage_now)

    def usage_now(self) -> SandboxStats | None:
        """Return the usage as ``usage`` does. Blocks."""
        group = self.cgroup()
        return group.usage(self.workspace) if group is not None else None

    def release_workspace(self) -> int:
        """Remove the workspace, except its content if it is retained. Blocks.

        Returns the number of entries that nest too deep to be retained.
        """
        if self.keep:
            return workspaces.release(self.workspace)
        workspaces.discard(self.workspace)
        return 0


class ChannelSandbox:
    """A ``Sandbox`` over a channel, the same for every backend."""

    def __init__(
        self, spec: SandboxSpec, channel: ChannelClient, host: HostControl, on_incident: IncidentSink | None = None
    ) -> None:
        self._spec = spec
        self._channel = channel
        self._host = host
        self._deadlines: dict[str, asyncio.Task[None]] = {}
        self._destroyed = False
        self._on_incident = on_incident
        channel.on_stranger = lambda detail: self._report(IncidentKind.IMPOSTOR, detail)

    @property
    def spec(self) -> SandboxSpec:
        """The spec of the sandbox."""
        return self._spec

    async def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float,
        cwd: str = WORKSPACE,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        output_limit: int = 64 * 1024,
    ) -> ExecResult:
        """Run a command to its end: see ``Sandbox.exec``."""
        fields = {
            "command": command if isinstance(command, str) else list(command),
            "cwd": cwd,
            "env": dict(env or {}),
            "timeout": timeout,
            "limit": output_limit,
        }
        limit = timeout + GRACE_SECONDS
        reply = await self._call("exec", fields, stdin, timeout=limit, most=output_limit)
        result = transfer.parse_exec_result(reply.fields, reply.data)
        if result.reason in _INCIDENT_REASONS:
            self._report(result.reason, str(command)[:200])
        return result

    async def start_job(self, command: str, *, timeout: float, cwd: str = WORKSPACE) -> JobStatus:
        """Start a background job: see ``Sandbox.start_job``."""
        fields = {"command": command, "cwd": cwd, "env": {}, "timeout": timeout}
        status = transfer.parse_job_status((await self._call("job_start", fields)).fields)
        self._deadlines[status.job_id] = asyncio.create_task(self._enforce(status.job_id, timeout))
        return status

    async def wait_job(self, job_id: str, *, timeout: float) -> JobStatus:
        """Return the job's status after its end or the timeout.

        See ``Sandbox.wait_job``.
        """
        fields = {"job": job_id, "seconds": timeout}
        return transfer.parse_job_status((await self._call("job_wait", fields, timeout=timeout + CALL_SECONDS)).fields)

    async def job_output(self, job_id: str, *, limit: int = 16 * 1024) -> str:
        """Return the job's output, its middle dropped: see ``Sandbox.job_output``."""
        reply = await self._call("job_output", {"job": job_id, "limit": limit}, most=limit + 1024)
        return reply.data.decode(errors="replace")

    async def stop_job(self, job_id: str) -> JobStatus:
        """Kill the job's whole process tree: see ``Sandbox.stop_job``."""
        reply = await self._call("job_stop", {"job": job_id, "seconds": _KILL_SECONDS})
        status = transfer.parse_job_status(reply.fields)
        if status.running:
            await self._lost(SandboxGone(f"sandbox {self._spec.name}: job {job_id} could not be killed"))
        return status

    async def jobs(self) -> Sequence[JobStatus]:
        """List all jobs, oldest first."""
        return transfer.parse_job_list((await self._call("jobs", {})).fields)

    async def read(self, path: str, *, limit: int = 16 * 1024**2) -> bytes:
        """Read a file: see ``Sandbox.read``."""
        with self._refusals():
            return await transfer.read_file(self._call, path, limit)

    async def write(self, path: str, data: bytes) -> None:
        """Write a file, making its parents: see ``Sandbox.write``."""
        with self._refusals():
            await transfer.write_file(self._call, path, data)

    async def put(self, source: Path, target: str) -> None:
        """Copy a host directory's content into ``target``: see ``Sandbox.put``."""
        with self._refusals():
            await transfer.put_directory(self._call, source, target)

    async def get(self, source: str, target: Path, *, limit: int = 64 * 1024**2, max_files: int = 2000) -> None:
        """Copy a directory's regular files to a new host directory: see ``Sandbox.get``."""
        with self._refusals():
            await transfer.get_directory(self._call, source, target, limit=limit, max_files=max_files)

    async def stats(self) -> SandboxStats:
        """Return the current usage."""
        used = await self._host.usage()
        if used is not None and used.workspace_bytes >= 0:
            return used
        reply = await self._call("stats", {"workspace": True})
        return transfer.parse_stats(reply.fields, used)

    async def destroy(self) -> None:
        """End the sandbox and everything in it: see ``Sandbox.destroy``."""
        if self._destroyed:
            return
        self._destroyed = True
        try:
            await self.detach()
        except Exception as error:  # noqa: BLE001 - it is ended from outside in any case
            log.warning("the channel of a sandbox could not be closed", name=self._spec.name, error=str(error))
        report_pruned_tree(self._on_incident, self._spec.name, self._spec.campaign_id, await self._host.release())

    async def detach(self) -> None:
        """Release the sandbox without ending it.

        It stays for a later ``attach``.
        """
        for task in self._deadlines.values():
            task.cancel()
        await asyncio.gather(*self._deadlines.values(), return_exceptions=True)
        self._deadlines.clear()
        await self._channel.close()

    async def adopt_jobs(self, timeout: float) -> None:
        """Enforce the limits of running jobs from outside again, after ``attach``.

        Raises SandboxGone.
        """
        reply = await self._call("jobs", {}, timeout=timeout)
        for job_id, seconds in transfer.parse_time_left(reply.fields).items():
            self._deadlines[job_id] = asyncio.create_task(self._enforce(job_id, seconds))

    async def _enforce(self, job_id: str, seconds: float) -> None:
        await asyncio.sleep(seconds + GRACE_SECONDS)
        try:
            status = await self.wait_job(job_id, timeout=0)
        except (SandboxGone, NotFound):
            return
        if status.running:
            await self._kill()

    async def _call(
        self,
        op: str,
        fields: dict[str, Any],
        payload: bytes = b"",
        *,
        timeout: float = CALL_SECONDS,
        most: int = _TEXT_LIMIT,
    ) -> ChannelReply:
        if self._destroyed:
            raise SandboxGone(f"sandbox {self._spec.name} was destroyed")
        try:
            reply = await self._channel.call(op, fields, payload, timeout=timeout, most=most)
            transfer.raise_for_error(reply.fields, fields)
        except SandboxGone as gone:
            await self._lost(gone)
        return reply

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except TransferRefused as refused:
            self._report(IncidentKind.REFUSED, refused.message)
            raise

    def _report(self, kind: IncidentKind | ExitReason, detail: str) -> None:
        if self._on_incident is not None:
            self._on_incident(Incident(self._spec.name, self._spec.campaign_id, kind, detail))

    async def _kill(self) -> None:
        try:
            await self._host.kill()
        except Exception as error:  # noqa: BLE001 - the caller must learn that the sandbox is gone
            report_left_behind(self._on_incident, self._spec.name, self._spec.campaign_id, error)

    async def _lost(self, gone: SandboxGone) -> NoReturn:
        """Kill everything in the sandbox after any failure of its channel."""
        cause = await self._host.exit_cause()
        await self._kill()
        self._report(IncidentKind.GONE, cause or gone.message)
        message = f"{gone.message} ({cause})" if cause else gone.message
        raise SandboxGone(message, "create it again; its workspace is retained") from gone


_Control = TypeVar("_Control", bound=HostControl)


class ChannelBackend(ABC, Generic[_Control]):
    """What every backend whose sandboxes have a channel does alike.

    Args:
        abandoned_after: seconds without any controller after which a sandbox ends itself.
        on_incident: called with each incident: a thing stopped, refused or lost in any of its sandboxes.
    """

    name: str

    def __init__(self, abandoned_after: float = ABANDONED_SECONDS, on_incident: IncidentSink | None = None) -> None:
        self._abandoned_after = abandoned_after
        self._on_incident = on_incident
        self._live: dict[str, ChannelSandbox] = {}

    @abstractmethod
    async def _find(self, name: str) -> _Control | None:
        """Return the control of a sandbox, running or not. None where nothing of it exists."""

    @abstractmethod
    def _new_control(self, spec: SandboxSpec) -> _Control:
        """Return the control of a sandbox that is about to be made."""

    @abstractmethod
    async def _start(self, spec: SandboxSpec, host: _Control) -> None:
        """Start the sandbox, and record its first process in ``host`` and in the state file."""

    async def create(self, spec: SandboxSpec) -> ChannelSandbox:
        """Make and start a sandbox. Raises SandboxUnavailable, SandboxError, Conflict."""
        place = SandboxStateDir(self.name, spec.name)
        if place.is_being_created():
            raise Conflict(f"a sandbox named {spec.name} is being created", "wait for it, or choose another name")
        former = await self._find(spec.name)
        if former is not None:
            if former.running:
                raise Conflict(f"a sandbox named {spec.name} is running", "attach to it, or remove it first")
            report_pruned_tree(self._on_incident, spec.name, spec.campaign_id, await former.release())
        await run_to_completion(partial(place.claim, spec), place.remove)
        channel, host = ChannelClient(spec.name, place.channel), self._new_control(spec)
        try:
            await channel.listen()
            await self._start(spec, host)
            await channel.connected(host.first_process, _START_SECONDS)
        except BaseException as error:
            # The caller needs the first error.
            left = partial(report_left_behind, self._on_incident, spec.name, spec.campaign_id)
            cause = await host.start_failure() if isinstance(error, SandboxGone) else ""
            await best_effort(channel.close(), left)
            await best_effort(host.release(), left)
            if isinstance(error, SandboxGone):
                raise SandboxError(f"sandbox {spec.name} did not start: {cause or error.message}") from error
            raise
        sandbox = self._live[spec.name] = ChannelSandbox(spec, channel, host, self._on_incident)
        return sandbox

    async def attach(self, spec: SandboxSpec) -> ChannelSandbox:
        """Attach to a sandbox that a former controller made. Raises SandboxGone."""
        live = self._live.pop(spec.name, None)
        if live is not None:  # its channel is needed for the new one
            await live.detach()
        host = await self._find(spec.name)
        if host is None or not host.running or not host.place.channel.is_dir():
            raise SandboxGone(f"no sandbox named {spec.name} is running", "create it; its workspace is retained")
        channel = ChannelClient(spec.name, host.place.channel)
        sandbox = ChannelSandbox(spec, channel, host, self._on_incident)
        try:
            await channel.listen()
            await channel.connected(host.first_process, _ATTACH_SECONDS)
            await sandbox.adopt_jobs(_ATTACH_SECONDS)
        except SandboxGone:
            await sandbox.destroy()
            raise
        self._live[spec.name] = sandbox
        return sandbox

    async def remove(self, name: str) -> None:
        """End and remove a sandbox by name. Does nothing when it is absent."""
        live = self._live.pop(name, None)
        if live is not None:
            await live.destroy()
        host = await self._find(name)
        if host is not None:
            report_pruned_tree(self._on_incident, name, host.campaign_id, await host.release())

    async def close(self) -> None:
        """Close connections. Running sandboxes stay for a later ``attach``."""
        live, self._live = list(self._live.values()), {}
        for sandbox in live:
            await best_effort(sandbox.detach(), log_failure("a sandbox could not be let go of"))
