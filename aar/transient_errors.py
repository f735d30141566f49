"""Detection of transient errors, which callers wait for.

They are neither shown to a model nor treated as an end.
"""

from __future__ import annotations

import errno

from aar.disk_full import find_disk_full
from aar.errors import DatabaseError, StillInUse

_SCARCE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS})


def is_transient(error: BaseException) -> bool:
    """Return True if an error may pass by itself.

    No descriptors, no memory, no disk, a database or a workspace in use.
    """
    if isinstance(error, OSError) and error.errno in _SCARCE:
        return True
    return isinstance(error, (DatabaseError, StillInUse)) or find_disk_full(error) is not None
