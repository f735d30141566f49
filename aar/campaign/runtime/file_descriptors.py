"""Raises the limit of open files, and reserves a few descriptors.

The reserve is for the moment when none is left.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress

_MOST = 65536
"""A higher limit is of no use, and code that walks over all descriptors becomes slow."""
_KEPT = 16


def raise_open_file_limit() -> int:
    """Raise the soft limit of open files to the hard one.

    Return the limit in force.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return open_file_limit()


def open_file_limit() -> int:
    """Return how many files this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if soft == resource.RLIM_INFINITY else soft


class DescriptorReserve:
    """Reserved descriptors, to be released when no others are left."""

    def __init__(self, count: int = _KEPT) -> None:
        self._count = count
        self._held: list[int] = []

    def refill(self) -> None:
        """Reserve the missing descriptors, as far as there are any."""
        with suppress(OSError):
            while len(self._held) < self._count:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def release(self) -> None:
        """Release the descriptors, so that the next attempt finds some."""
        while self._held:
            os.close(self._held.pop())
