"""Entry point of the server: see ``aar.sandbox.channel.server_launch``."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

from . import resource_limits
from .event_loop import READ, WRITE, EventLoop
from .framing import ConnectionLost, FrameConnection
from .process_table import PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, kill_descendants, prctl
from .request_handler import RequestHandler

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from typing import Any

_RECONNECT_SECONDS = 0.2


class SandboxServer:
    """Maintains the channel, reaps leftover processes, and ends the sandbox after its lifetime."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.loop = EventLoop()
        kills = resource_limits.oom_kill_counter(config["oom_files"])
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
            resource_limits.watch_workspace(self.loop, self.service.running, config["quota"])
        if config["memory"] is not None:
            resource_limits.watch_memory(self.loop, self.service.running, config["memory"])
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
    resource_limits.apply_rlimits(config["rlimits"])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    resource_limits.load_seccomp_filter(config["seccomp"])
    SandboxServer(config).loop.run()
