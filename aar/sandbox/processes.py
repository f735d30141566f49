"""Processes of this host, named so that a reused pid is never taken for the old process."""

from __future__ import annotations

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
