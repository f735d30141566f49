"""Limits enforced by the server: resource limits, kernel kill counts, and watched sums."""

from __future__ import annotations

import ctypes
import os
import resource
import time

from . import files
from .process_table import libc, prctl, total_usage

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Callable

    from .command import Command
    from .event_loop import EventLoop

_LIMITS = {
    "fsize": resource.RLIMIT_FSIZE,
    "nproc": resource.RLIMIT_NPROC,
    "nofile": resource.RLIMIT_NOFILE,
    "data": resource.RLIMIT_DATA,
    "core": resource.RLIMIT_CORE,
}


_WATCH_SECONDS = 0.25
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2


def apply_rlimits(limits: dict[str, int]) -> None:
    """Set hard and soft limits; every command inherits them. Raises OSError."""
    for name, value in limits.items():
        _soft, hard = resource.getrlimit(_LIMITS[name])
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(_LIMITS[name], (value, value))


def load_seccomp_filter(programs: dict[str, str]) -> bool:
    """Load the system call filter for this machine. False where there is none.

    Every command inherits it.
    """
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


def oom_kill_counter(paths: list[str]) -> Callable[[], int]:
    """Return a function that counts the kernel's out-of-memory kills in this sandbox."""
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


class UsageWatch:
    """Checks a sum while commands run, and kills them all above its limit.

    For resources that the kernel does not limit here: a workspace without its own file system, memory without a control
        group.
    """

    def __init__(
        self,
        loop: EventLoop,
        running: Callable[[], list[Command]],
        used: Callable[[], int],
        limit: int,
        what: str,
        reason: str,
    ) -> None:
        self._loop = loop
        self._running = running
        self._used = used
        self._limit = limit
        self._what = what
        self._reason = reason
        self._again(_WATCH_SECONDS)

    def _again(self, seconds: float) -> None:
        self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        began = time.monotonic()
        running = self._running()
        if running and self._used() > self._limit:
            for command in running:
                command.capture.feed(
                    b"\n[stopped: over the limit of %d bytes of %s]\n" % (self._limit, self._what.encode())
                )
                command.stop(self._reason)
        self._again(max(_WATCH_SECONDS, 10 * (time.monotonic() - began)))


def watch_workspace(loop: EventLoop, running: Callable[[], list[Command]], limit: int) -> None:
    """Limit the size of the workspace."""
    UsageWatch(loop, running, lambda: files.disk_usage(files.WORKSPACE), limit, "workspace", "stopped")


def watch_memory(loop: EventLoop, running: Callable[[], list[Command]], limit: int) -> None:
    """Limit the resident memory of all commands together."""
    UsageWatch(loop, running, lambda: total_usage()[0], limit, "memory", "out_of_memory")
