"""Temporary folders for untrusted content.

Each is named after its process, so that those of killed processes can be removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from aar.errors import SandboxError
from aar.fsutil import remove_tree
from aar.processes import HostProcess

log = structlog.get_logger(__name__)

_NAME = re.compile(r"aar-[a-z]+-([0-9]{1,10})-([0-9]{1,20})-[a-z0-9_]+")


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
        named = _NAME.fullmatch(folder.name)
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
