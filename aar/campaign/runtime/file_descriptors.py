"""Open files: as many as this process may have, and a few kept back for the moment when none is left."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

_MOST = 65536
"""Beyond this more is of no use, and what walks over all descriptors becomes slow."""
_KEPT = 16


def raise_open_file_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return open_file_limit()


def open_file_limit() -> int:
    """How many files this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if soft == resource.RLIM_INFINITY else soft


class DescriptorReserve:
    """Descriptors that are held for nothing, so that they can be let go when there are no others."""

    def __init__(self, count: int = _KEPT) -> None:
        self._count = count
        self._held: list[int] = []

    def refill(self) -> None:
        """Take what is missing, as far as there is."""
        with suppress(OSError):
            while len(self._held) < self._count:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def release(self) -> None:
        """Let them go: whatever is tried next finds some."""
        while self._held:
            os.close(self._held.pop())
