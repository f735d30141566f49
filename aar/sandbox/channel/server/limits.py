"""Bounds that the server itself holds: resource limits, counts of kernel kills, and a watched workspace quota."""

from __future__ import annotations

import ctypes
import os
import resource
import time

from . import files
from .processes import libc, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Callable

    from .command import Command
    from .loop import Loop

_LIMITS = {
    "fsize": resource.RLIMIT_FSIZE,
    "nproc": resource.RLIMIT_NPROC,
    "nofile": resource.RLIMIT_NOFILE,
    "as": resource.RLIMIT_AS,
    "core": resource.RLIMIT_CORE,
}


_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2


def apply(limits: dict[str, int]) -> None:
    """Set hard and soft limits; every command inherits them. Raises OSError."""
    for name, value in limits.items():
        _soft, hard = resource.getrlimit(_LIMITS[name])
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(_LIMITS[name], (value, value))


def filter_calls(programs: dict[str, str]) -> bool:
    """Load the system call filter for this machine; every command inherits it. False where there is none for it."""
    code = bytes.fromhex(programs.get(os.uname().machine, ""))
    if not code:
        return False

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    program = Program(len(code) // 8, code)
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot load the system call filter")
    return True


def kernel_kills(paths: list[str]) -> Callable[[], int]:
    """A function that tells how many processes the kernel has killed for memory in this sandbox."""
    path = next((p for p in paths if os.access(p, os.R_OK)), None)
    if path is None:
        return lambda: 0
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def count() -> int:
        for line in os.pread(fd, 4096, 0).splitlines():
            if line.startswith(b"oom_kill "):
                return int(line.split()[1])
        return 0

    return count


class Quota:
    """Watches the workspace while commands run, where its size is not bounded by its own file system."""

    def __init__(self, loop: Loop, limit: int, running: Callable[[], list[Command]]) -> None:
        self._loop = loop
        self._limit = limit
        self._running = running
        self._again(1.0)

    def _again(self, seconds: float) -> None:
        self._loop.later(seconds, self._look)

    def _look(self) -> None:
        began = time.monotonic()
        running = self._running()
        if running and files.usage(files.WORKSPACE) > self._limit:
            for command in running:
                command.capture.feed(b"\n[stopped: the workspace is over its limit of %d bytes]\n" % self._limit)
                command.stop("stopped")
        self._again(max(0.5, 10 * (time.monotonic() - began)))
