"""Processes of this host, named so that a reused pid is never taken for the old process."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HostProcess:
    """A process by its pid and the moment it started (clock ticks since boot)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> HostProcess | None:
        """The live process of that pid; None when there is none (a zombie is none)."""
        try:
            line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return None
        fields = line[line.rindex(")") + 2 :].split()
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    def alive(self) -> bool:
        """Whether it still runs."""
        return HostProcess.of(self.pid) == self

    def kill(self, timeout: float = 10.0) -> bool:
        """Kill it and wait for its end, blocking; returns whether it is gone."""
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
    """Collect an own child that has ended; somebody else's child, or one that runs on, is left alone."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def kill_started_on(path: Path) -> None:
    """End every bwrap process that was given ``path`` as an argument, or something below it.

    A controller that dies between starting bwrap and writing down its first process leaves one that no record names.
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
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(entry.name), signal.SIGKILL)
