"""The ``Sandbox`` of every backend, implemented over a channel."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

import structlog

from aar.errors import NotFound, SandboxError, SandboxGone, TransferRefused
from aar.sandbox.channel import transfer
from aar.sandbox.channel.client import ChannelClient, ChannelReply
from aar.sandbox.incidents import Incident, IncidentKind, IncidentSink, report_left_behind, report_pruned_tree
from aar.sandbox.protocol import WORKSPACE, ExecResult, ExitReason, JobStatus, SandboxSpec, SandboxStats

log = structlog.get_logger(__name__)

GRACE_SECONDS = 15.0
"""Seconds after a command's time limit for the server to kill it, before the sandbox is ended."""
CALL_SECONDS = 60.0
"""Longest duration of any other request, in seconds."""
_KILL_SECONDS = 10.0
_TEXT_LIMIT = 1 << 20


class HostControl(Protocol):
    """Operations on a sandbox that only its backend can do, all from outside."""

    async def kill(self) -> None:
        """Kill every process of the sandbox at once.

        Its remains stay for ``release``.
        """
        ...

    async def release(self) -> int:
        """End the sandbox and remove it, except the content of a retained workspace.

        Safe to call twice.

        Returns the number of files and folders in the workspace that nest too deep to be retained.
        """
        ...

    async def exit_cause(self) -> str:
        """Return one clause on the cause of its end, such as "out of memory".

        Empty when unknown.
        """
        ...

    async def usage(self) -> SandboxStats | None:
        """Return the sandbox's usage from the host's accounting. None where the host has none.

        ``workspace_bytes`` is -1 when unknown.
        """
        ...


class ChannelSandbox:
    """A ``Sandbox`` over a channel, the same for every backend."""

    def __init__(
        self, spec: SandboxSpec, channel: ChannelClient, body: HostControl, on_incident: IncidentSink | None = None
    ) -> None:
        self._spec = spec
        self._channel = channel
        self._body = body
        self._deadlines: dict[str, asyncio.Task[None]] = {}
        self._destroyed = False
        self._on_incident = on_incident
        channel.on_stranger = lambda detail: self._report(IncidentKind.IMPOSTOR, detail)

    @property
    def spec(self) -> SandboxSpec:
        """The spec of the sandbox."""
        return self._spec

    @property
    def refused_connections(self) -> int:
        """The number of refused connections.

        Each came from another process than the sandbox's first.
        """
        return self._channel.strangers

    async def exec(
        self,
        command: str | Sequence[str],
        *,
        timeout: float,
        cwd: str = WORKSPACE,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        output_limit: int = 64 * 1024,
        on_output: Callable[[bytes], None] | None = None,
    ) -> ExecResult:
        """Run a command to its end: see ``Sandbox.exec``.

        Args:
            on_output: receives the first half of ``output_limit`` as it comes, then the retained tail.
        """
        fields = {
            "command": command if isinstance(command, str) else list(command),
            "cwd": cwd,
            "env": dict(env or {}),
            "timeout": timeout,
            "limit": output_limit,
        }
        limit = timeout + GRACE_SECONDS
        reply = await self._call("exec", fields, stdin, timeout=limit, most=output_limit, on_data=on_output)
        result = parse_exec_result(reply.fields, reply.data)
        if result.reason in (ExitReason.OUT_OF_MEMORY, ExitReason.TIME_LIMIT, ExitReason.STOPPED):
            self._report(IncidentKind(result.reason.value), str(command)[:200])
        return result

    async def start_job(self, command: str, *, timeout: float, cwd: str = WORKSPACE) -> JobStatus:
        """Start a background job: see ``Sandbox.start_job``."""
        fields = {"command": command, "cwd": cwd, "env": {}, "timeout": timeout}
        status = parse_job_status((await self._call("job_start", fields)).fields)
        self._deadlines[status.job_id] = asyncio.create_task(self._enforce(status.job_id, timeout))
        return status

    async def wait_job(self, job_id: str, *, timeout: float) -> JobStatus:
        """Return the job's status after its end or the timeout.

        See ``Sandbox.wait_job``.
        """
        fields = {"job": job_id, "seconds": timeout}
        return parse_job_status((await self._call("job_wait", fields, timeout=timeout + CALL_SECONDS)).fields)

    async def job_output(self, job_id: str, *, limit: int = 16 * 1024) -> str:
        """Return the job's output, its middle dropped: see ``Sandbox.job_output``."""
        reply = await self._call("job_output", {"job": job_id, "limit": limit}, most=limit + 1024)
        return reply.data.decode(errors="replace")

    async def stop_job(self, job_id: str) -> JobStatus:
        """Kill the job's whole process tree: see ``Sandbox.stop_job``."""
        reply = await self._call("job_stop", {"job": job_id, "seconds": _KILL_SECONDS})
        status = parse_job_status(reply.fields)
        if status.running:
            await self._lost(SandboxGone(f"sandbox {self._spec.name}: job {job_id} could not be killed"))
        return status

    async def jobs(self) -> Sequence[JobStatus]:
        """List all jobs, oldest first."""
        return parse_job_list((await self._call("jobs", {})).fields)

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
        used = await self._body.usage()
        if used is not None and used.workspace_bytes >= 0:
            return used
        reply = await self._call("stats", {"workspace": True})
        return parse_stats(reply.fields, used)

    async def destroy(self) -> None:
        """End the sandbox and everything in it: see ``Sandbox.destroy``."""
        if self._destroyed:
            return
        self._destroyed = True
        try:
            await self.detach()
        except Exception as error:  # noqa: BLE001 - it is ended from outside in any case
            log.warning("the channel of a sandbox could not be closed", name=self._spec.name, error=str(error))
        report_pruned_tree(self._on_incident, self._spec.name, self._spec.campaign_id, await self._body.release())

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
        for job_id, seconds in parse_time_left(reply.fields).items():
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
        on_data: Callable[[bytes], None] | None = None,
    ) -> ChannelReply:
        if self._destroyed:
            raise SandboxGone(f"sandbox {self._spec.name} was destroyed")
        try:
            reply = await self._channel.call(op, fields, payload, timeout=timeout, most=most, on_data=on_data)
            raise_for_error(reply.fields, fields)
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

    def _report(self, kind: IncidentKind, detail: str) -> None:
        if self._on_incident is not None:
            self._on_incident(Incident(self._spec.name, self._spec.campaign_id, kind, detail))

    async def _kill(self) -> None:
        try:
            await self._body.kill()
        except Exception as error:  # noqa: BLE001 - the caller must learn that the sandbox is gone
            report_left_behind(self._on_incident, self._spec.name, self._spec.campaign_id, error)

    async def _lost(self, gone: SandboxGone) -> NoReturn:
        """Kill everything in the sandbox after any failure of its channel."""
        fate = await self._body.exit_cause()
        await self._kill()
        self._report(IncidentKind.GONE, fate or gone.message)
        message = f"{gone.message} ({fate})" if fate else gone.message
        raise SandboxGone(message, "create it again; its workspace is retained") from gone


_T = TypeVar("_T", str, int, float, bool)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SCARCE_INSIDE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS)
"""Not raised as OSError: that would look like a shortage of this machine, which callers wait for."""


def raise_for_error(fields: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raise the exception that an error reply stands for.

    Raises:
        OSError: of the kind that fits its errno (FileNotFoundError, ...).
        TransferRefused, NotFound, SandboxError, SandboxGone: as the reply says.
    """
    kind = fields.get("error")
    if kind is None or "reason" in fields:
        return
    message = str(fields.get("message", ""))[:500]
    path = str(asked.get("path", ""))
    if kind == "os":
        number = _field(fields, "errno", int)
        if number in _NO_SPACE:
            raise TransferRefused(f"cannot write {path}: {os.strerror(number)}", "free space in the workspace")
        if number in _SCARCE_INSIDE:
            raise SandboxError(
                f"the sandbox is out of resources for {path}: {os.strerror(number)}", "end its running commands"
            )
        if number == errno.EROFS:
            number = errno.EACCES
        raise OSError(number, os.strerror(number), path)
    if kind == "refused":
        raise TransferRefused(message)
    if kind == "request" and "job" in asked:
        raise NotFound(f"no job {asked['job']} in this sandbox")
    raise SandboxError(f"the sandbox's server refused a request: {message}")


def parse_exec_result(fields: Mapping[str, Any], output: bytes) -> ExecResult:
    """Parse an ``ExecResult``. Raises SandboxGone when the fields are invalid."""
    try:
        reason = ExitReason(_field(fields, "reason", str))
    except ValueError:
        raise SandboxGone("the sandbox's server returned an unknown exit reason") from None
    return ExecResult(
        reason=reason,
        code=_field(fields, "code", int),
        output=output.decode(errors="replace"),
        dropped_bytes=_field(fields, "dropped", int),
        seconds=_field(fields, "seconds", float),
    )


def parse_job_status(fields: Mapping[str, Any]) -> JobStatus:
    """Parse a job's status. Raises SandboxGone when the fields are invalid."""
    result = None
    running = _field(fields, "running", bool)
    if not running:
        outcome = {**_mapping(fields, "outcome"), "dropped": fields.get("dropped")}
        result = parse_exec_result(outcome, _field(fields, "output", str).encode())
    return JobStatus(
        job_id=_field(fields, "job", str),
        command=_field(fields, "command", str),
        running=running,
        result=result,
        seconds=_field(fields, "seconds", float),
    )


def parse_job_list(fields: Mapping[str, Any]) -> Sequence[JobStatus]:
    """Parse the list of all jobs, oldest first. Raises SandboxGone when the fields are invalid."""
    return [parse_job_status(job) for job in _jobs(fields)]


def parse_time_left(fields: Mapping[str, Any]) -> dict[str, float]:
    """Parse the seconds left before each running job's time limit.

    Raises SandboxGone when the fields are invalid.
    """
    return {
        _field(job, "job", str): max(0.0, _field(job, "limit", float) - _field(job, "seconds", float))
        for job in _jobs(fields)
        if _field(job, "running", bool)
    }


def parse_stats(fields: Mapping[str, Any], from_host: SandboxStats | None) -> SandboxStats:
    """Combine resource usage: the host's figures, or the server's where those are missing."""
    return SandboxStats(
        memory_bytes=from_host.memory_bytes if from_host else _field(fields, "memory", int),
        processes=from_host.processes if from_host else _field(fields, "processes", int),
        cpu_seconds=from_host.cpu_seconds if from_host else _field(fields, "cpu", float),
        workspace_bytes=_field(fields, "workspace", int),
    )


def parse_listing(fields: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Parse a directory listing into ``(relative path, size or -1 for a folder, mode)``.

    Names that leave the directory are refused.

    Raises:
        TransferRefused: a name is absolute, holds ``..`` or a NUL byte.
        SandboxGone: the fields are invalid.
    """
    entries = fields.get("entries")
    if not isinstance(entries, list):
        raise SandboxGone("the sandbox's server returned no listing")
    checked = []
    for entry in entries:
        match entry:
            case [str() as name, int() as size, int() as mode]:
                if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
                    raise TransferRefused(f"the name {name[:200]!r} leaves its directory")
                checked.append((name, size, mode))
            case _:
                raise SandboxGone("the sandbox's server returned a malformed listing")
    return checked


def _jobs(fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    jobs = fields.get("jobs")
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise SandboxGone("the sandbox's server returned no list of jobs")
    return jobs


def _mapping(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    if not isinstance(value, dict):
        raise SandboxGone(f"the sandbox's server returned no {name}")
    return value


def _field(fields: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    value = fields.get(name)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise SandboxGone(f"the sandbox's server returned an invalid {name}")
    return value
