"""Files on disk: atomic replacement, temporary folders, and removal of untrusted trees.

A reader never sees half of an atomically replaced file. A temporary folder for untrusted content is named after its
process, so that those of killed processes can be removed.

Trees of any depth, names and modes are removed and pruned through descriptors. No path is built, no link is followed
and no mount is entered; a handful of descriptors is enough for any depth. Deeper folders are moved up before they are
emptied, so that nothing recurses. An interrupted removal can be repeated.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from aar.errors import SandboxError
from aar.processes import HostProcess

log = structlog.get_logger(__name__)

DRAFT_SUFFIX = ".draft-"
"""Prefix of incomplete files."""
_TEMPORARY_NAME = re.compile(r"aar-[a-z]+-([0-9]{1,10})-([0-9]{1,20})-[a-z0-9_]+")
MAX_LEVELS = 40
"""Most levels of folders, the top included, copied out of a sandbox; the same limit as for a snapshot."""
MAX_PATH_BYTES = 2048
"""Longest path in a retained workspace, counted from the workspace."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REMEDY = "free it (a mount, or another user's files), then run: aar sandbox prune"


def write_atomically(path: Path, content: bytes) -> bool:
    """Write a world-readable file in one step, unless its content is the same.

    Returns True if it was written.
    """
    try:
        if path.read_bytes() == content:
            return False
    except FileNotFoundError:
        pass  # a new one
    descriptor, draft = tempfile.mkstemp(prefix=DRAFT_SUFFIX, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(draft).chmod(0o644)
        Path(draft).replace(path)
    except OSError:
        Path(draft).unlink(missing_ok=True)
        raise
    return True


def user_cache_folder(name: str) -> Path:
    """Return this user's cache folder of that name, by the XDG base directory specification."""
    chosen = os.environ.get("XDG_CACHE_HOME")
    return (Path(chosen) if chosen else Path.home() / ".cache") / "aar" / name


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A temporary folder for untrusted content.

    A failure to remove it is only logged.

    Args:
        prefix: start of its name, such as ``aar-method-``.
    """
    me = HostProcess.of(os.getpid())
    whose = f"{me.pid}-{me.started}-" if me is not None else ""
    folder = Path(tempfile.mkdtemp(prefix=prefix + whose))
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # For those who do not see this process, such as one in a container that shares the folder.
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield folder
    finally:
        try:
            remove_tree(folder)
        except SandboxError as error:
            log.warning("a temporary folder stays", error=str(error))
        os.close(held)


def abandoned_folders() -> list[Path]:
    """Return temporary folders of this user whose process has ended."""
    found = []
    for folder in Path(tempfile.gettempdir()).glob("aar-*"):
        named = _TEMPORARY_NAME.fullmatch(folder.name)
        if named is None or HostProcess(int(named[1]), int(named[2])).alive():
            continue
        if _is_own(folder) and not _is_held(folder):
            found.append(folder)
    return found


def _is_own(folder: Path) -> bool:
    try:
        info = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid()


def _is_held(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def remove_tree(folder: Path) -> None:
    """Remove a folder and its content. Does nothing when it is absent.

    Raises:
        SandboxError: something in it remains, such as a mount or another user's file; the rest is removed.
    """
    try:
        parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        _remove(parent, folder.name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SandboxError(f"{folder} cannot be removed: {error.strerror}", _REMEDY) from error
    finally:
        os.close(parent)


def prune_deep_tree(folder: Path) -> int:
    """Remove entries that are too deep, or have too long a path, to be copied.

    Returns the number of removed entries.

    Raises:
        SandboxError: something cannot be read or removed.
    """
    try:
        top = os.open(folder, _DIRECTORY)
    except FileNotFoundError:
        return 0
    try:
        return _cut(top, _mount_id(top), MAX_LEVELS - 1, MAX_PATH_BYTES)
    except OSError as error:
        raise SandboxError(f"{folder} cannot be pruned: {error.strerror}", _REMEDY) from error
    finally:
        os.close(top)


def _cut(directory: int, mount: int, levels: int, path_bytes: int) -> int:
    """Prune one folder as in ``prune_deep_tree``.

    It calls itself at most ``levels`` times deep.
    """
    folders, doomed = [], []
    with os.scandir(directory) as entries:
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if len(os.fsencode(entry.name)) > path_bytes or (is_folder and levels == 0):
                doomed.append(entry.name)
            elif is_folder:
                folders.append(entry.name)
    for name in doomed:
        _remove(directory, name)
    cut = len(doomed)
    for name in folders:
        below = _open(directory, name)
        try:
            if _mount_id(below) == mount:
                cut += _cut(below, mount, levels - 1, path_bytes - len(os.fsencode(name)) - 1)
        finally:
            os.close(below)
    return cut


def _remove(parent: int, name: str) -> None:
    """Remove an entry of a folder, of any kind. Raises OSError."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=parent)
        return
    top = _open(parent, name)
    try:
        if _mount_id(top) != _mount_id(parent):
            raise OSError(errno.EBUSY, "a file system is mounted on it")
        _Emptying(top).run()
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


class _Emptying:
    """Empties one folder.

    Deeper folders are moved up into it, one level at a time, under new names.
    """

    def __init__(self, top: int) -> None:
        self._top = top
        self._mount = _mount_id(top)
        self._prefix = f".removed-{secrets.token_hex(4)}-"
        self._done = 0
        self._moved = 0
        self._failure: OSError | None = None

    def run(self) -> None:
        """Repeat until the folder is empty.

        Raises OSError once a whole pass removes nothing.
        """
        while True:
            before, found, self._failure = self._done, False, None
            with os.scandir(self._top) as entries:
                for entry in entries:
                    found = True
                    self._attempt(entry)
            if not found:
                return
            if self._done == before:
                raise self._failure or OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    def _attempt(self, entry: os.DirEntry[str]) -> None:
        try:
            if entry.is_dir(follow_symlinks=False):
                self._remove_folder(entry.name)
            else:
                os.unlink(entry.name, dir_fd=self._top)
            self._done += 1
        except FileNotFoundError:
            self._done += 1
        except OSError as error:
            self._failure = error

    def _remove_folder(self, name: str) -> None:
        folder = _open(self._top, name)
        try:
            if _mount_id(folder) != self._mount:
                raise OSError(errno.EBUSY, "a file system is mounted in it")
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        self._lift(folder, entry.name)
                    else:
                        os.unlink(entry.name, dir_fd=folder)
                    self._done += 1
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=self._top)

    def _lift(self, folder: int, name: str) -> None:
        """Remove an empty folder. Move any other up to the top."""
        try:
            os.rmdir(name, dir_fd=folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            _make_usable(folder, name)  # moving a folder writes its ".."
            self._moved += 1
            os.rename(name, f"{self._prefix}{self._moved}", src_dir_fd=folder, dst_dir_fd=self._top)


def _open(parent: int, name: str) -> int:
    _make_usable(parent, name)
    return os.open(name, _DIRECTORY, dir_fd=parent)


def _make_usable(parent: int, name: str) -> None:
    """Give a plain user access to an own folder that is closed even to its owner.

    Root needs no such permission.
    """
    info = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if os.geteuid() != info.st_uid or info.st_mode & 0o700 == 0o700:
        return
    if os.chmod in os.supports_follow_symlinks:
        os.chmod(name, 0o700, dir_fd=parent, follow_symlinks=False)
        return
    folder = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{folder}").chmod(0o700)
    finally:
        os.close(folder)


def _mount_id(descriptor: int) -> int:
    """Return an identity of the mount: its number, or else its device.

    A bind mount has the device of its source.
    """
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_bytes().splitlines()
    except OSError:
        return os.fstat(descriptor).st_dev
    return next(int(line.split()[1]) for line in lines if line.startswith(b"mnt_id:"))
