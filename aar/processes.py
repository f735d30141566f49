"""Processes of this host, identified so that a reused pid is never confused, and their open files.

A child process ends with its parent, even if that is killed. A few descriptors are reserved for the moment when none is
left.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_MOST_FILES = 65536
"""A higher limit is of no use, and code that walks over all descriptors becomes slow."""
_RESERVED_FILES = 16


@dataclass(frozen=True, slots=True)
class HostProcess:
    """A process, identified by its pid and start time (clock ticks since boot)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> HostProcess | None:
        """Return the live process of that pid. None for a zombie or no process."""
        try:
            line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        fields = line[line.rindex(")") + 2 :].split()
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @classmethod
    def current(cls) -> HostProcess:
        """Return this process. Its start is 0, as of no process, where ``/proc`` is not readable."""
        return cls.of(os.getpid()) or cls(os.getpid(), 0)

    def alive(self) -> bool:
        """Return True if the process still runs."""
        return HostProcess.of(self.pid) == self

    def kill(self, timeout: float = 10.0) -> bool:
        """Kill the process and wait for its end. Blocks.

        Returns True if it has ended.
        """
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            if not self.alive():
                return True
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            return bool(poll.poll(timeout * 1000))
        except ProcessLookupError:
            return True
        finally:
            os.close(fd)


def reap(pid: int) -> None:
    """Reap an own child that has ended.

    Does nothing for another process's child, or one that still runs.
    """
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def kill_bwrap_processes(path: Path) -> None:
    """Kill every bwrap process with ``path`` in its arguments, and its descendants.

    A path below ``path`` counts too.

    A controller that dies between starting bwrap and recording its first process leaves one without a record. By then
    that process may run another program: only bwrap, which waits for it, still identifies it.
    """
    wanted = os.fsencode(path)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if not any(each.endswith(b"bwrap") for each in arguments):
            continue
        if any(each == wanted or each.startswith(wanted + b"/") for each in arguments):
            kill_family(int(entry.name))


def kill_family(pid: int) -> None:
    """Kill a process and its descendants, and wait for the end of its children."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGSTOP)  # so that it gets no more of them
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        children = []
    for each in map(int, children):
        kill_family(each)
        if (child := HostProcess.of(each)) is not None:
            child.kill()
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def mount_holders(devices: Collection[str], most: int = 5) -> list[str]:
    """Return processes with a block device mounted, as ``name (pid N)``.

    There is one of each mount namespace.
    """
    numbers = {f"{os.major(rdev)}:{os.minor(rdev)}" for rdev in (Path(each).stat().st_rdev for each in devices)}
    seen: set[str] = set()
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or len(found) == most:
            continue
        try:
            namespace = str((entry / "ns" / "mnt").readlink())
            if namespace in seen:
                continue
            seen.add(namespace)
            lines = (entry / "mountinfo").read_text(errors="replace").splitlines()
            if any(line.split()[2] in numbers for line in lines):
                found.append(f"{(entry / 'comm').read_text(errors='replace').strip()} (pid {entry.name})")
        except OSError:
            continue
    return found


def exit_with_parent(pipe: IO[bytes]) -> None:
    """End this process at once when the parent's end of a pipe closes."""
    threading.Thread(target=_wait, args=(pipe.fileno(),), name="end with parent", daemon=True).start()


def _wait(descriptor: int) -> None:
    while os.read(descriptor, 65536):  # not by the pipe's buffer, whose lock a thread may not hold as Python ends
        pass
    os._exit(1)


def raise_open_file_limit() -> int:
    """Raise the soft limit of open files to the hard one.

    Return the limit in force.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return open_file_limit()


def open_file_limit() -> int:
    """Return how many files this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST_FILES if soft == resource.RLIM_INFINITY else soft


class DescriptorReserve:
    """Reserved descriptors, to be released when no others are left."""

    def __init__(self, count: int = _RESERVED_FILES) -> None:
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
