"""Data from a sandbox: validation of the server's replies, and transfer of files in both directions.

Replies may be hostile, and are validated field by field. Files are transferred one a request. No archive is ever
unpacked on the host. Names from inside are checked, links and special files are refused, sizes and counts are bounded
by the host.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from aar.errors import NotFound, SandboxError, SandboxGone, TransferRefused
from aar.fsutil import MAX_LEVELS
from aar.sandbox.channel.client import ChannelReply
from aar.sandbox.protocol import ExecResult, ExitReason, JobStatus, SandboxStats

_T = TypeVar("_T", str, int, float, bool)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SCARCE_INSIDE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS)
"""Not raised as OSError: that would look like a shortage of this machine, which callers wait for."""
Call = Callable[..., Coroutine[Any, Any, ChannelReply]]
"""``call(op, fields, payload, most=...)`` of a sandbox."""
_PIECE = 4 << 20
_AT_ONCE = 16
_MAX_PUT_BYTES = 1 << 30
_MAX_PUT_FILES = 20_000


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


async def read_file(call: Call, path: str, limit: int) -> bytes:
    """Read a file. Raises OSError, TransferRefused (over ``limit``), SandboxGone."""
    pieces: list[bytes] = []
    position = 0
    while position <= limit:
        length = min(_PIECE, limit + 1 - position)
        reply = await call("read", {"path": path, "offset": position, "length": length}, most=length)
        pieces.append(reply.data)
        position += len(reply.data)
        if len(reply.data) < length:
            return b"".join(pieces)
    raise TransferRefused(f"{path} is larger than {limit} bytes")


async def write_file(call: Call, path: str, data: bytes, mode: int | None = None) -> None:
    """Write a file, making its parents. Raises OSError, TransferRefused (no space), SandboxGone."""
    await call("write", {"path": path, "append": False, "mode": mode}, data[:_PIECE])
    for start in range(_PIECE, len(data), _PIECE):
        await call("write", {"path": path, "append": True, "mode": mode}, data[start : start + _PIECE])


async def put_directory(call: Call, source: Path, target: str) -> None:
    """Copy a host directory's content into the sandbox.

    Raises TransferRefused (a link or special file; too much), SandboxGone.
    """
    folders, files = await asyncio.to_thread(_survey, source)
    await call("mkdir", {"path": target})
    for folder in folders:
        await call("mkdir", {"path": f"{target}/{folder}"})

    async def one(name: str) -> None:
        data, mode = await asyncio.to_thread(_read_host, source / name)
        await write_file(call, f"{target}/{name}", data, mode)

    await _in_turn([partial(one, name) for name in files])


async def get_directory(call: Call, source: str, target: Path, *, limit: int, max_files: int) -> None:
    """Copy a directory's regular files to a new host directory.

    Raises:
        TransferRefused: a link or special file, a name that leaves ``target``, folders nested too deep, more than
            ``limit`` bytes or ``max_files`` entries, or ``target`` is there already and not empty.
        FileNotFoundError, NotADirectoryError, SandboxGone
    """
    with _refused_where_unreadable(source):
        reply = await call("list", {"path": source, "most": max_files, "levels": MAX_LEVELS})
    entries = parse_listing(reply.fields)
    _check_levels(source, entries)
    total = sum(size for _name, size, _mode in entries if size > 0)
    if len(entries) > max_files:
        raise TransferRefused(f"{source} holds more than {max_files} files")
    if total > limit:
        raise TransferRefused(f"{source} holds {total} bytes, more than {limit}")
    await asyncio.to_thread(_new_directory, target)

    async def one(name: str, size: int, mode: int) -> None:
        with _refused_where_unreadable(f"{source}/{name}"):
            data = await read_file(call, f"{source}/{name}", size) if size else b""
        await asyncio.to_thread(_write_host, target / name, data, mode)

    folders = [target / name for name, size, _mode in entries if size < 0]
    await asyncio.to_thread(_make_folders, folders)
    await _in_turn([partial(one, *entry) for entry in entries if entry[1] >= 0])


async def _in_turn(work: list[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    """Run all, a few at a time. The first failure ends the rest."""
    queue = iter(work)

    async def worker() -> None:
        for start in queue:
            await start()

    workers = [asyncio.create_task(worker()) for _ in range(min(_AT_ONCE, len(work)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _survey(source: Path) -> tuple[list[str], list[str]]:
    folders: list[str] = []
    files: list[str] = []
    size = 0
    todo = [Path()]
    while todo:
        folder = todo.pop()
        with os.scandir(source / folder) as entries:
            for entry in entries:
                name = folder / entry.name
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    todo.append(name)
                    folders.append(name.as_posix())
                elif stat.S_ISREG(info.st_mode):
                    files.append(name.as_posix())
                    size += info.st_size
                else:
                    raise TransferRefused(f"{source / name} is a link, device, pipe or socket")
        if len(files) + len(folders) > _MAX_PUT_FILES or size > _MAX_PUT_BYTES:
            raise TransferRefused(f"{source} holds more than {_MAX_PUT_FILES} files or {_MAX_PUT_BYTES} bytes")
    return folders, files


def _read_host(path: Path) -> tuple[bytes, int]:
    return path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644


@contextmanager
def _refused_where_unreadable(path: str) -> Iterator[None]:
    """Raise TransferRefused for a path that the sandbox cannot read.

    It may be closed, too long, or a link to itself.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise TransferRefused(f"{path[:200]} cannot be read: {error.strerror}", "Shorten or reopen it") from error


def _check_levels(source: str, entries: list[tuple[str, int, int]]) -> None:
    if any(name.count("/") + (size < 0) >= MAX_LEVELS for name, size, _mode in entries):
        raise TransferRefused(f"{source} nests deeper than {MAX_LEVELS} levels: flatten it, or name a smaller folder")


def _make_folders(folders: list[Path]) -> None:
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)


def _new_directory(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise TransferRefused(f"{target} is not empty")


def _write_host(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755 if mode & 0o100 else 0o644)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
