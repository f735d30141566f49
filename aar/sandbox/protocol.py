"""The sandbox protocol: the promises of every sandbox, on every backend.

A backend makes sandboxes; a sandbox runs commands and moves files for one researcher or one scoring run.
Promises, fulfilled by every backend and checked by ``aar.testing.conformance.sandbox_suite``:

- *Isolation*: no network, no host file beyond the mounts of its spec, a non-root user, no capability.
- *Bounds*: memory, processes, CPU and workspace are limited; output is bounded; a note marks the dropped middle.
- *Time limits are enforced from outside*, and the whole process tree dies with its command.
- *"The command failed" and "the sandbox is gone" are never confused*: the first is an ``ExecResult``, the second
  raises ``SandboxGone``.
- *No waiting on the loop*: every method is async and may be called by many tasks at once.

Paths inside a sandbox are POSIX paths; relative ones start at ``/workspace``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

WORKSPACE = "/workspace"
"""Mount point of a sandbox's writable workspace."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A host directory shown inside, read-only by default."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """The specification of a sandbox.

    Args:
        name: unique on this machine, ``[a-z0-9-]``; such as ``k3v9qd-r1`` or ``k3v9qd-s12-0``.
        campaign_id: label that identifies orphans.
        workspace: host directory that becomes ``/workspace``; made if absent.
        keep_workspace: True if the workspace survives ``destroy``; False removes it unread.
        mounts: further host directories, read-only by default (data, lab, forum mirror).
        env: environment of every command; the host's own environment never enters.
        memory_bytes, cpus, max_processes, workspace_bytes: bounds of the whole sandbox.
        image: image name for backends that use one; empty means the backend's default.
        gpus: device ids to show inside, for backends that can.
        lifetime_seconds: time after which the backend ends the sandbox in any case; None means no such end.
        cores: host cores to run on, as leased; empty means any.
    """

    name: str
    campaign_id: str
    workspace: Path
    mounts: Sequence[Mount] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 2 * 1024**3
    cpus: float = 1.0
    max_processes: int = 256
    workspace_bytes: int = 2 * 1024**3
    image: str = ""
    gpus: Sequence[str] = ()
    lifetime_seconds: float | None = None
    cores: Sequence[int] = ()
    keep_workspace: bool = True


class Sandbox(Protocol):
    """A running sandbox."""

    @property
    def spec(self) -> SandboxSpec:
        """The spec of the sandbox."""
        ...

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
        """Run a command to its end.

        Args:
            command: a string for ``bash -c``, or an argument vector.
            timeout: seconds until the whole process tree is killed; the result then has TIME_LIMIT.
            cwd: directory to run in.
            env: added to the sandbox's own.
            stdin: fed to the command.
            output_limit: bytes of output retained: half from the start, half from the end.

        Raises:
            SandboxGone: the sandbox ended meanwhile.
        """
        ...

    async def start_job(self, command: str, *, timeout: float, cwd: str = WORKSPACE) -> JobStatus:
        """Start a background job (``bash -c``). Raises SandboxGone.

        Its output goes to a capped file.
        """
        ...

    async def wait_job(self, job_id: str, *, timeout: float) -> JobStatus:
        """Return the job's status after its end or ``timeout`` seconds.

        Raises SandboxGone, NotFound.
        """
        ...

    async def job_output(self, job_id: str, *, limit: int = 16 * 1024) -> str:
        """Return the job's output, its middle dropped beyond ``limit`` bytes.

        Raises SandboxGone, NotFound.
        """
        ...

    async def stop_job(self, job_id: str) -> JobStatus:
        """Kill the job's whole process tree. Raises SandboxGone, NotFound."""
        ...

    async def jobs(self) -> Sequence[JobStatus]:
        """List all jobs, oldest first. Raises SandboxGone."""
        ...

    async def read(self, path: str, *, limit: int = 16 * 1024**2) -> bytes:
        """Read a file.

        Raises FileNotFoundError, IsADirectoryError, PermissionError, TransferRefused (over ``limit``), SandboxGone.
        """
        ...

    async def write(self, path: str, data: bytes) -> None:
        """Write a file, making its parents. Raises PermissionError, IsADirectoryError, SandboxGone."""
        ...

    async def put(self, source: Path, target: str) -> None:
        """Copy a host directory's content into ``target``. Raises TransferRefused, SandboxGone."""
        ...

    async def get(self, source: str, target: Path, *, limit: int = 64 * 1024**2, max_files: int = 2000) -> None:
        """Copy a directory's regular files to a new host directory.

        Links, devices, sockets and names that leave ``target`` are refused. Raises TransferRefused, FileNotFoundError,
        SandboxGone.
        """
        ...

    async def stats(self) -> SandboxStats:
        """Return the current usage. Raises SandboxGone."""
        ...

    async def destroy(self) -> None:
        """End the sandbox and everything in it. Safe to call twice.

        The workspace directory stays if the spec demands it.

        Raises SandboxError, SandboxUnavailable: part of it remains; ``SandboxBackend.remove`` tries again.
        """
        ...


class SandboxBackend(Protocol):
    """Makes, finds and removes sandboxes of one kind."""

    name: str
    """Name of the backend in a spec: ``docker``, ``bubblewrap``."""

    async def check(self) -> Availability:
        """Check that the backend works here.

        Never raises, never takes more than a few seconds.
        """
        ...

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make and start a sandbox. Raises SandboxUnavailable, SandboxError, Conflict (the name is in use)."""
        ...

    async def attach(self, spec: SandboxSpec) -> Sandbox:
        """Attach to the sandbox ``spec.name`` of a former controller. Raises SandboxGone."""
        ...

    async def list(self, campaign_id: str | None = None, *, usage: bool = False) -> Sequence[SandboxRow]:
        """List the existing sandboxes of this backend by name, for one campaign or all, ended ones included.

        Without ``usage``, which is measured for each, one query covers all. Raises SandboxUnavailable.
        """
        ...

    def shell_command(self, name: str) -> Sequence[str]:
        """Return the command line that opens a shell in a running sandbox.

        Raises SandboxGone, SandboxError (this user may not enter it).
        """
        ...

    async def remove(self, name: str) -> None:
        """End and remove a sandbox by name. Does nothing when it is absent.

        Raises SandboxError, SandboxUnavailable.
        """
        ...

    async def close(self) -> None:
        """Close connections.

        Running sandboxes stay for a later ``attach`` where the backend allows it.
        """
        ...


class ExitReason(StrEnum):
    """The reason for the end of a command."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    STOPPED = "stopped"
    """Stopped on request, because the workspace grew past its limit, or because its controller left."""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """The result of a command.

    Args:
        reason: the reason for its end.
        code: exit code; 128 + signal where a signal ended it.
        output: standard output and error, interleaved, decoded with replacement.
        dropped_bytes: bytes cut from the middle of ``output``; 0 when it is whole.
        seconds: wall-clock seconds.
    """

    reason: ExitReason
    code: int
    output: str
    dropped_bytes: int
    seconds: float

    @property
    def ok(self) -> bool:
        """True if it exited by itself with code 0."""
        return self.reason is ExitReason.EXITED and self.code == 0


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The status of a background job.

    Args:
        job_id: name of the job within its sandbox.
        command: the command that was started.
        running: True while it runs.
        result: its result; None while it runs. ``output`` holds the job's last lines only.
        seconds: wall-clock seconds so far.
    """

    job_id: str
    command: str
    running: bool
    result: ExecResult | None
    seconds: float


@dataclass(frozen=True, slots=True)
class SandboxStats:
    """Current usage of a sandbox.

    Bytes of memory, number of processes, CPU seconds so far, bytes of workspace.
    """

    memory_bytes: int
    processes: int
    cpu_seconds: float
    workspace_bytes: int


@dataclass(frozen=True, slots=True)
class Availability:
    """Availability of a backend on this machine.

    Args:
        ok: True if a sandbox could be created now.
        detail: one line: version and guarantees, or the missing part.
        remedy: one line: the program to install or start; empty when ok.
        notes: guarantees that are weaker here, one line each (such as "memory by rlimit: cgroup not writable").
    """

    ok: bool
    detail: str
    remedy: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SandboxRow:
    """A sandbox that exists on this machine.

    Args:
        name, backend, campaign_id: its identity.
        running: False for one that ended and was not removed.
        age_seconds: since it was made.
        stats: its current usage, from the host's accounting; None when it is not running, the host has none, or the
            usage was not requested.
            ``workspace_bytes`` is -1 where the workspace is a plain directory.
    """

    name: str
    backend: str
    campaign_id: str
    running: bool
    age_seconds: float
    stats: SandboxStats | None = None
