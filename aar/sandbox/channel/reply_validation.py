"""Field-by-field validation of the server's replies, which may be hostile."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from aar.errors import NotFound, SandboxError, SandboxGone, TransferRefused
from aar.sandbox.protocol import ExecResult, ExitReason, JobStatus, SandboxStats

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
