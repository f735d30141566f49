"""Walks a directory safely while its owner may change it.

The walk never leaves the directory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from aar.errors import TransferRefused
from aar.snapshots.tree_manifest import check_name

_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_MAX_DEPTH = 40

FileVisitor = Callable[[str, int, os.stat_result], None]


def walk_files(directory: Path, visit: FileVisitor, *, max_entries: int) -> None:
    """Call ``visit`` for every file below ``directory``.

    It gets the relative name, an open file descriptor and its stat.

    Every step goes through the descriptor of the directory above, and no link is followed, so that a rename or a
    link made during the walk cannot lead outside.

    Args:
        directory: the first directory.
        visit: called once a file; may raise to end the walk.
        max_entries: most files and folders together.

    Raises:
        TransferRefused: a link, device, pipe, socket or bad name, or too many entries; the message names it.
    """
    with _opened(str(directory), None, _OPEN_DIRECTORY, ".") as root:
        _Walk(visit, max_entries).into(root, "", _MAX_DEPTH)


class _Walk:
    def __init__(self, visit: FileVisitor, max_entries: int) -> None:
        self._visit = visit
        self._left = max_entries

    def into(self, directory: int, prefix: str, depth: int) -> None:
        if depth == 0:
            raise TransferRefused(
                f"the folder nests deeper than {_MAX_DEPTH} levels",
                "Flatten it, or remove folders",
            )
        with os.scandir(directory) as found:
            entries = [entry.name for entry in islice(found, self._left + 1)]
        self._left -= len(entries)
        if self._left < 0:
            raise TransferRefused("the folder holds too many files", "Remove files that the method does not need")
        for entry in sorted(entries):
            name = check_name(prefix + entry)
            mode = _stat(entry, directory, name).st_mode
            if stat.S_ISDIR(mode):
                with _opened(entry, directory, _OPEN_DIRECTORY, name) as below:
                    self.into(below, name + "/", depth - 1)
            elif stat.S_ISREG(mode):
                with _opened(entry, directory, _OPEN_FILE, name) as file:
                    status = os.fstat(file)
                    if not stat.S_ISREG(status.st_mode):
                        raise _irregular(name, status.st_mode)
                    self._visit(name, file, status)
            else:
                raise _irregular(name, mode)


def _stat(entry: str, directory: int, name: str) -> os.stat_result:
    try:
        return os.stat(entry, dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        raise _unreadable(name, error) from error


@contextmanager
def _opened(entry: str, directory: int | None, flags: int, name: str) -> Iterator[int]:
    try:
        descriptor = os.open(entry, flags, dir_fd=directory)
    except OSError as error:
        raise _unreadable(name, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _unreadable(name: str, error: OSError) -> TransferRefused:
    return TransferRefused(f"cannot read {name!r}: {error.strerror}", "Use plain files only, and do not change them")


def _irregular(name: str, mode: int) -> TransferRefused:
    kinds = ((stat.S_ISLNK, "a link"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    kind = next((word for test, word in kinds if test(mode)), "a device")
    return TransferRefused(f"{name!r} is {kind}", "Use plain files and folders only; copy the target of a link")
