"""Transfer of files and directories in both directions, one file a request.

No archive is ever unpacked on the host.

Names from inside are checked, links and special files are refused, sizes and counts are bounded by the host.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from aar.errors import TransferRefused
from aar.fsutil import MAX_LEVELS
from aar.sandbox.channel import channel_sandbox
from aar.sandbox.channel.client import ChannelReply

Call = Callable[..., Coroutine[Any, Any, ChannelReply]]
"""``call(op, fields, payload, most=...)`` of a sandbox."""

_PIECE = 4 << 20
_AT_ONCE = 16
_MAX_PUT_BYTES = 1 << 30
_MAX_PUT_FILES = 20_000


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
    entries = channel_sandbox.parse_listing(reply.fields)
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
