"""Entry point of the server, and the limits that it enforces: see ``aar.sandbox.channel.client``.

Limits are resource limits, the kernel's kill counts, and watched sums.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import sys
import time

from .event_loop import READ, WRITE, EventLoop
from .framing import ConnectionLost, FrameConnection
from .processes import PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, kill_descendants, libc, prctl, total_usage
from .request_handler import WORKSPACE, RequestHandler, disk_usage

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Callable
    from typing import Any

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
_RECONNECT_SECONDS = 0.2


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
    UsageWatch(loop, running, lambda: disk_usage(WORKSPACE), limit, "workspace", "stopped")


def watch_memory(loop: EventLoop, running: Callable[[], list[Command]], limit: int) -> None:
    """Limit the resident memory of all commands together."""
    UsageWatch(loop, running, lambda: total_usage()[0], limit, "memory", "out_of_memory")


class SandboxServer:
    """Maintains the channel, reaps leftover processes, and ends the sandbox after its lifetime."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.loop = EventLoop()
        kills = oom_kill_counter(config["oom_files"])
        self.service = RequestHandler(self.loop, kills, config["env"])
        self._path = config["socket"]
        self._abandoned_after = config["abandoned_after"]
        self._abandoned: list[Any] | None = None
        self._partial: dict[int, bytearray] = {}
        self._writing = False
        self.loop.on_child(self._reap)
        self.loop.each_round = self._want_write
        if config["lifetime"] is not None:
            self.loop.call_later(config["lifetime"], self._end)
        if config["quota"] is not None:
            watch_workspace(self.loop, self.service.running, config["quota"])
        if config["memory"] is not None:
            watch_memory(self.loop, self.service.running, config["memory"])
        self._disconnected()

    def _end(self) -> None:
        self.loop.stopping = True

    def _disconnected(self) -> None:
        self._partial.clear()
        self._abandoned = self.loop.call_later(self._abandoned_after, self._end)
        self._connect()

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            self.loop.call_later(_RECONNECT_SECONDS, self._connect)
            return
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.loop.cancel(self._abandoned)
        connection = FrameConnection(sock)
        self.service.connected(connection)
        self._writing = False
        self.loop.watch(sock.fileno(), READ, self._ready)
        connection.send({"hello": 1, "pid": os.getpid()})

    def _ready(self, mask: int) -> None:
        connection = self.service.connection
        if connection is None:
            return
        if mask & WRITE:
            connection.flush()
            self.service.drained()
        if mask & READ:
            try:
                for header, payload in connection.receive():
                    self._request(header, payload)
            except (ConnectionLost, ValueError, KeyError, TypeError):
                self.loop.forget(connection.sock.fileno())
                connection.sock.close()
                self.service.lost()
                self._disconnected()
                return

    def _want_write(self) -> None:
        """Watch for a writable socket while output waits."""
        connection = self.service.connection
        if connection is None:
            return
        writing = connection.queued > 0
        if writing != self._writing:
            self._writing = writing
            self.loop.watch(connection.sock.fileno(), READ | WRITE if writing else READ, self._ready)

    def _request(self, header: dict[str, Any], payload: bytes) -> None:
        number = header["id"]
        if header.get("more"):
            self._partial.setdefault(number, bytearray()).extend(payload)
            return
        if number in self._partial:
            payload = bytes(self._partial.pop(number) + payload)
        self.service.handle(header, payload)

    def _reap(self) -> None:
        """Reap children, and end processes left by a killed supervisor.

        Those were re-parented to this process.
        """
        strange = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            strange = strange or pid not in self.service.supervisors.alive or os.WIFSIGNALED(status)
            self.service.supervisors.alive.discard(pid)
        if strange:
            self._end_strays()

    def _end_strays(self) -> None:
        if kill_descendants([os.getpid()], spare=self.service.supervisors.alive):
            self.loop.call_later(0.05, self._end_strays)


def main() -> None:
    """Read the configuration, restrict this process, serve."""
    with open(sys.argv[-1], "rb") as file:
        config = json.loads(file.read())
    os.umask(0o022)
    apply_rlimits(config["rlimits"])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    load_seccomp_filter(config["seccomp"])
    SandboxServer(config).loop.run()
