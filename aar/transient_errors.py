"""Errors that may pass by themselves, and are waited for rather than told to a model or taken for an end."""

from __future__ import annotations

import errno

from aar.disk_full import find_disk_full
from aar.errors import DatabaseError, StillInUse

_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS})


def is_transient(error: BaseException) -> bool:
    """Return True if an error may pass by itself: no descriptors, no memory, no disk, a database or a workspace in
    use."""
    if isinstance(error, OSError) and error.errno in _SCARCE:
        return True
    return isinstance(error, (DatabaseError, StillInUse)) or find_disk_full(error) is not None
