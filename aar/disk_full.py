"""Detection of a full disk from any exception, so that it has one name everywhere."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from aar.errors import DatabaseError, DiskFull

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
REMEDY = "Free some space, then run `aar resume`"
_LEAST_BYTES = 1 << 20


def find_disk_full(error: BaseException) -> DiskFull | None:
    """Return the full disk behind an error, in one line with a remedy.

    None where the error has another cause.
    """
    for each in _chain(error):
        if isinstance(each, DiskFull):
            return each
        if isinstance(each, OSError) and each.errno in DISK_FULL_ERRNOS:
            place = f" {each.filename2 or each.filename}" if each.filename is not None else ""
            quota = "the quota is used up" if each.errno == errno.EDQUOT else "the disk is full"
            return DiskFull(f"{quota}: cannot write{place}", REMEDY)
        if isinstance(each, DatabaseError) and each.message.startswith("disk full"):
            return DiskFull(each.message, REMEDY)
    return None


def is_disk_full(folder: Path) -> bool:
    """Return True if the disk of a folder has no room for this process."""
    disk = os.statvfs(folder)
    blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail  # root may use the reserve
    return blocks * disk.f_frsize < _LEAST_BYTES


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    found: BaseException | None = error
    for _ in range(8):
        if found is None:
            return
        yield found
        found = found.__cause__
