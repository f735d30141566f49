"""How a controller signs the campaign that it runs, so that a dead one is told from a living one."""

from __future__ import annotations

import os
import socket

from aar.processes import HostProcess


def controller_id(pid: int | None = None) -> str:
    """A process of this host (this one unless a pid is given): host, pid, and the pid's start, which tells reuse apart.

    Empty where there is no such process.
    """
    process = HostProcess.of(os.getpid() if pid is None else pid)
    return "" if process is None else f"{socket.gethostname()}:{process.pid}:{process.started}"


def is_dead_on_this_host(controller: str) -> bool:
    """Whether a signature is of this host and of a process that is no more, so that nobody waits for a timeout."""
    host, pid, started = controller.rsplit(":", 2)
    return host == socket.gethostname() and not HostProcess(int(pid), int(started)).alive()
