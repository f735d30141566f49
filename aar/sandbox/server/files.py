"""Files of the sandbox, read and written in pieces with the rights of commands."""

from __future__ import annotations

import errno
import os
import stat

WORKSPACE = "/workspace"


class FileRefused(Exception):
    """A requested file that is too large, or not a regular file."""


def resolve_path(path: str) -> str:
    """Return an absolute path. Relative ones start at the workspace."""
    return os.path.join(WORKSPACE, path)


def read(path: str, offset: int, length: int) -> tuple[bytes, int]:
    """Return ``(bytes, size of the file)``. Raises OSError, FileRefused.

    Never waits on a pipe or a device.
    """
    fd = os.open(resolve_path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        info = os.fstat(fd)
        if stat.S_ISDIR(info.st_mode):
            raise IsADirectoryError(errno.EISDIR, path)
        if not stat.S_ISREG(info.st_mode):
            raise FileRefused(f"{path} is not a regular file")
        pieces, position = [], offset
        while length > 0:
            piece = os.pread(fd, length, position)
            if not piece:
                break
            pieces.append(piece)
            position += len(piece)
            length -= len(piece)
        return b"".join(pieces), info.st_size
    finally:
        os.close(fd)


def write(path: str, data: bytes, append: bool, mode: int | None) -> None:
    """Write or extend a file, making its parents. Raises OSError, FileRefused."""
    full = resolve_path(path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    flags |= os.O_APPEND if append else os.O_TRUNC
    fd = os.open(full, flags, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileRefused(f"{path} is not a regular file")
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if mode is not None:
            os.fchmod(fd, mode & 0o777)
    finally:
        os.close(fd)


def list_tree(path: str, most: int, levels: int) -> list[tuple[str, int, int]]:
    """List regular files and folders below a directory: ``[[relative path, size or -1, mode], ...]``.

    Raises OSError, FileRefused (a link, device, pipe or socket; more than ``most`` entries; more than ``levels`` levels
    of folders).
    """
    top = resolve_path(path)
    found: list[tuple[str, int, int]] = []
    todo = [""]
    while todo:
        folder = todo.pop()
        with os.scandir(os.path.join(top, folder)) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    if name.count("/") + 1 >= levels:
                        raise FileRefused(
                            f"{path} nests deeper than {levels} levels: flatten it, or name a smaller folder"
                        )
                    todo.append(name)
                    found.append((name, -1, info.st_mode & 0o777))
                elif stat.S_ISREG(info.st_mode):
                    found.append((name, info.st_size, info.st_mode & 0o777))
                else:
                    raise FileRefused(f"{name} is a link, device, pipe or socket")
                if len(found) > most:
                    raise FileRefused(f"more than {most} files")
    return found


def disk_usage(path: str) -> int:
    """Return the bytes that a tree takes on its disk.

    Files that vanish meanwhile are not counted.
    """
    total, todo = 0, [path]
    seen: set[int] = set()
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    info = entry.stat(follow_symlinks=False)
                    if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
                        if info.st_ino in seen:
                            continue
                        seen.add(info.st_ino)
                    total += info.st_blocks * 512
                    if stat.S_ISDIR(info.st_mode):
                        todo.append(entry.path)
        except OSError:  # gone meanwhile, or closed to its own owner by a command
            continue
    return total
