"""Results reported by sandboxes: command ends, job states, usage, backend availability.

Import these from ``aar.sandbox.protocol``, which documents their sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class ExitReason(StrEnum):
    """The reason for the end of a command."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    OUT_OF_MEMORY = "out_of_memory"
    TIME_LIMIT = "time_limit"
    STOPPED = "stopped"
    """The job was stopped on request."""


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
