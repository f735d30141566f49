"""Processes of this host, identified so that a reused pid is never confused."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


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
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGSTOP)  # so that it gets no more of them
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        children = []
    for each in map(int, children):
        kill_family(each)
        if (child := HostProcess.of(each)) is not None:
            child.kill()
    with contextlib.suppress(ProcessLookupError, PermissionError):
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
