"""Reads a researcher's workspace safely, while the researcher may change it.

Every step goes through the descriptor of the folder above and follows no link, so nothing that a researcher puts into
its workspace leads outside of it. Only plain files are opened, and only their beginning is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from aar.errors import NotFound
from aar.forum.image_formats import media_type_of

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_DEEPEST = 40
_MOST_ENTRIES = 500
MAX_TEXT_CHARACTERS = 200_000
MAX_IMAGE_BYTES = 4 << 20
"""Bytes of a text or an image that are read; of a longer text only the beginning is shown."""


@dataclass(frozen=True, slots=True)
class WorkspaceEntry:
    """An entry of a folder.

    ``kind`` is folder, file or other (a link, a pipe, ...), which cannot be opened.
    """

    name: str
    path: str
    kind: str
    size_bytes: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class WorkspaceFolder:
    """A folder: folders first, then by name; ``more`` is True if entries were cut."""

    path: str
    entries: list[WorkspaceEntry]
    more: bool


@dataclass(frozen=True, slots=True)
class WorkspaceFile:
    """A file of a workspace.

    Args:
        text: its text or the beginning of it; None if it is not text.
        image: its media type, if it is an image that a browser can show.
        cut: True if ``text`` is only the beginning.
    """

    path: str
    size_bytes: int
    text: str | None
    image: str | None
    cut: bool
    content: bytes


def read_workspace_path(root: Path, path: str = "") -> WorkspaceFolder | WorkspaceFile:
    """Returns the folder or file at a path of a workspace.

    Args:
        root: the workspace.
        path: relative, with slashes; empty for the workspace itself.

    Raises:
        NotFound: the path cannot be shown: no such file, a link, a device, no permission.
    """
    steps = [step for step in path.split("/") if step]
    if len(steps) > _DEEPEST or any(step in (".", "..") or "\0" in step for step in steps):
        raise _nothing(path)
    place = "/".join(steps)
    try:
        with _opened(str(root), None, _FOLDER) as top:
            return _descend(top, steps, place)
    except (OSError, UnicodeEncodeError) as error:
        raise _nothing(path) from error


def _descend(folder: int, steps: list[str], place: str) -> WorkspaceFolder | WorkspaceFile:
    if not steps:
        return _list(folder, place)
    mode = os.stat(steps[0], dir_fd=folder, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode):
        with _opened(steps[0], folder, _FOLDER) as below:
            return _descend(below, steps[1:], place)
    if len(steps) > 1 or not stat.S_ISREG(mode):
        raise _nothing(place)
    with _opened(steps[0], folder, _FILE) as file:
        return _read(file, place)


def _list(folder: int, place: str) -> WorkspaceFolder:
    with os.scandir(folder) as entries:
        entries_read = list(islice(entries, _MOST_ENTRIES + 1))
        listed = [_entry(each, place) for each in entries_read[:_MOST_ENTRIES]]
    return WorkspaceFolder(
        place, sorted(listed, key=lambda each: (each.kind != "folder", each.name)), len(entries_read) > _MOST_ENTRIES
    )


def _entry(each: os.DirEntry[str], place: str) -> WorkspaceEntry:
    status = each.stat(follow_symlinks=False)
    kind = "folder" if stat.S_ISDIR(status.st_mode) else "file" if stat.S_ISREG(status.st_mode) else "other"
    name = each.name.encode("utf-8", "replace").decode()
    at = datetime.fromtimestamp(min(max(status.st_mtime, 0.0), 4e9), UTC)
    return WorkspaceEntry(name, f"{place}/{name}" if place else name, kind, status.st_size, at)


def _read(file: int, place: str) -> WorkspaceFile:
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise _nothing(place)
    with os.fdopen(os.dup(file), "rb") as opened:
        content = opened.read(MAX_IMAGE_BYTES + 1)
    image = media_type_of(content)
    if image is not None:
        whole = len(content) <= MAX_IMAGE_BYTES
        return WorkspaceFile(place, status.st_size, None, image if whole else None, False, content if whole else b"")
    beginning = content[:MAX_TEXT_CHARACTERS]
    return WorkspaceFile(place, status.st_size, _text(beginning), None, len(content) > MAX_TEXT_CHARACTERS, b"")


def _text(content: bytes) -> str | None:
    if b"\0" in content:
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        # The cut may split a character.
        return content[: error.start].decode("utf-8") if error.start >= MAX_TEXT_CHARACTERS - 4 else None


@contextmanager
def _opened(name: str, folder: int | None, flags: int) -> Iterator[int]:
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _nothing(path: str) -> NotFound:
    return NotFound(f"no readable file or folder at {path[:200]!r}", "Links and special files are not followed")
