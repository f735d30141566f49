"""One running command: its supervisor, output, time limit and process tree."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time

from .command_supervisors import MESSAGE
from .event_loop import READ
from .process_table import kill_descendants, send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Callable
    from typing import Any

    from .command_supervisors import CommandSupervisor, SupervisorPool
    from .event_loop import EventLoop
    from .output_buffer import OutputBuffer

_SMALL_PIPE = 1 << 16
_READ_SIZE = 1 << 19
_LONG_COMMAND = 100_000
_SWEEP_SECONDS = 0.01
_SWEEP_AGAIN_SECONDS = 0.05


def argument_vector(command: str | list[str]) -> tuple[list[str], str | None]:
    """Return the command's argument vector and a script file to remove later.

    A string runs under ``bash -c``; the script holds a string that is too long for one argument.
    """
    if not isinstance(command, str):
        return list(command), None
    encoded = command.encode()
    if len(encoded) < _LONG_COMMAND:
        return ["bash", "-c", command], None
    path = f"/tmp/.aar-{os.getpid()}-{time.monotonic_ns()}.sh"  # noqa: S108 - the sandbox's own
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, encoded)
    finally:
        os.close(fd)
    return ["bash", path], path


def memory_file(data: bytes) -> int:
    """Return a descriptor that reads ``data`` from its start."""
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class Command:
    """A command from its start until no process of its tree is left.

    ``on_end(outcome)`` gets a dict: reason, code, seconds, oom (kills by the kernel meanwhile), error (text, when it
    could not be started).
    """

    def __init__(
        self,
        loop: EventLoop,
        supervisors: SupervisorPool,
        kills: Callable[[], int],
        capture: OutputBuffer,
        on_end: Callable[[dict[str, Any]], object],
    ) -> None:
        self.loop = loop
        self.capture = capture
        self.started = time.monotonic()
        self.timeout = 0.0
        self._supervisors = supervisors
        self._supervisor: CommandSupervisor | None = None
        self._kills = kills
        self._kills_before = kills()
        self._on_end = on_end
        self._asked: str | None = None
        self._status: int | None = None
        self._errno = 0
        self._told = b""
        self._timer: list[Any] | None = None
        self._script: str | None = None
        self._out = -1
        self._sweeping = False

    def start(self, command: str | list[str], env: dict[str, str], cwd: str, stdin: bytes, timeout: float) -> None:
        """Start the command. Every failure is reported through ``on_end``."""
        self.timeout = timeout
        fds = []
        try:
            argv, self._script = argument_vector(command)
            source = memory_file(stdin) if stdin else os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            fds.append(source)
            self._out, out = os.pipe2(os.O_CLOEXEC)
            fds.append(out)
            os.set_blocking(self._out, False)
            self._supervisor = self._supervisors.start(argv, env, cwd, source, out)
        except OSError as error:
            self._errno = error.errno or errno.EIO
            self.loop.call_later(0, self._close)
            return
        finally:
            for fd in fds:
                os.close(fd)
        self.loop.watch(self._out, READ, self._read_output)
        self.loop.watch(self._supervisor.sock.fileno(), READ, self._read_report)
        self._timer = self.loop.call_later(timeout, lambda: self.stop("time_limit"))

    def pause(self, paused: bool) -> None:
        """Pause or resume reading the output, for a slow controller."""
        if self._out < 0:
            return
        if paused:
            self.loop.forget(self._out)
        else:
            self.loop.watch(self._out, READ, self._read_output)

    def stop(self, reason: str) -> None:
        """Kill the whole tree and record the reason."""
        if self._asked is None and self._status is None:
            self._asked = reason
        self._sweep()

    def _sweep(self) -> None:
        if self._supervisor is None:
            return
        self._sweeping = True
        kill_descendants([self._supervisor.pid])
        send_signal(self._supervisor.pid, signal.SIGCONT)
        self.loop.call_later(_SWEEP_AGAIN_SECONDS, self._sweep)

    def _read_output(self, _mask: int) -> bool:
        try:
            data = os.read(self._out, _READ_SIZE)
        except BlockingIOError:
            return False
        if data:
            if len(data) == _SMALL_PIPE:  # much output: fewer, larger pieces
                fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, _READ_SIZE)
            self.capture.feed(data)
            return True
        self.loop.forget(self._out)
        return False

    def _read_report(self, _mask: int) -> None:
        supervisor = self._supervisor
        if supervisor is None:
            return
        try:
            data = supervisor.sock.recv(4096)
        except OSError:
            data = b""
        self._told += data
        dead = False
        while len(self._told) >= MESSAGE.size:
            kind, value = MESSAGE.unpack_from(self._told)
            self._told = self._told[MESSAGE.size :]
            if kind == b"S":
                self._status = value
            elif kind == b"E":
                self._errno = value
            else:
                dead = True
        if dead or not data:
            self.loop.forget(supervisor.sock.fileno())
            self._supervisor = None
            if dead:
                self._supervisors.release(supervisor)
            else:  # a command killed it; the server ends its remains
                supervisor.sock.close()
            self._close()
        elif not self._sweeping:
            self.loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _close(self) -> None:
        """Read the rest of the output and report the end, once the tree is gone."""
        self.loop.cancel(self._timer)
        if self._out >= 0:
            while self._read_output(0):
                pass
            self.loop.forget(self._out)
            os.close(self._out)
            self._out = -1
        self._finish(self._errno)

    def _finish(self, number: int) -> None:
        if self._script is not None:
            try:
                os.unlink(self._script)
            except OSError:  # the command removed its own script
                self._script = None
        outcome: dict[str, Any] = {
            "seconds": time.monotonic() - self.started,
            "oom": self._kills() - self._kills_before,
        }
        if number:
            outcome.update(reason="exited", code=127 if number == errno.ENOENT else 126, error=_explain(number))
        else:
            status = self._status if self._status is not None else signal.SIGKILL
            signalled = os.WIFSIGNALED(status)
            code = 128 + os.WTERMSIG(status) if signalled else os.WEXITSTATUS(status)
            reason = self._asked or ("signalled" if signalled else "exited")
            if self._asked:
                code = 128 + signal.SIGKILL
            elif code == 128 + signal.SIGKILL and outcome["oom"]:
                reason = "out_of_memory"
            outcome.update(reason=reason, code=code)
        self._on_end(outcome)


def _explain(number: int) -> str:
    if number == errno.EAGAIN:
        return "cannot start: the sandbox is at its limit of processes"
    if number == errno.E2BIG:
        return "cannot start: the command or its environment is too long"
    return f"cannot start: {os.strerror(number)}"
