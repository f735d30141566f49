"""Telling a full disk by whatever was raised of it, so that it is named the same everywhere."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from aar.errors import DatabaseError, DiskFull

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
REMEDY = "Free some space, then run `aar resume`"


def find_disk_full(error: BaseException) -> DiskFull | None:
    """Return the full disk that an error comes of, in one line with a remedy; None where it comes of something else."""
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


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and what it was raised from."""
    found: BaseException | None = error
    for _ in range(8):
        if found is None:
            return
        yield found
        found = found.__cause__
