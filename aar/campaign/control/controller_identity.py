"""Identifies the controller process that holds a campaign, and detects that it is dead."""

from __future__ import annotations

import os
import socket

from aar.processes import HostProcess


def controller_id(pid: int | None = None) -> str:
    """Return a process's id: host name, pid and start time.

    The start time distinguishes a reused pid. Without a pid, it is this process. Empty if there is no such process.
    """
    process = HostProcess.of(os.getpid() if pid is None else pid)
    return "" if process is None else f"{socket.gethostname()}:{process.pid}:{process.started}"


def is_dead_on_this_host(controller: str) -> bool:
    """Return whether an id names a dead process of this host.

    Then no timeout is needed.
    """
    host, pid, started = controller.rsplit(":", 2)
    return host == socket.gethostname() and not HostProcess(int(pid), int(started)).alive()
