"""Commands: one running command, its bounded output, and background jobs.

An output buffer stores the first and last half of its limit; the middle is dropped and its bytes are counted. Jobs
outlive the controller, and their output is also a file in the workspace.
"""

from __future__ import annotations

import collections
import errno
import fcntl
import os
import signal
import time

from .event_loop import READ
from .processes import MESSAGE, kill_descendants, send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Callable
    from typing import Any

    from .event_loop import EventLoop
    from .processes import CommandSupervisor, SupervisorPool

_SMALL_PIPE = 1 << 16
_READ_SIZE = 1 << 19
_LONG_COMMAND = 100_000
_SWEEP_SECONDS = 0.01
_SWEEP_AGAIN_SECONDS = 0.05
OUTPUT_CAP = 2 << 20
MAX_JOBS = 1000
_FLUSH_SECONDS = 1.0
_LAST_BYTES = 4096


class OutputBuffer:
    """Stores output of any length in bounded memory.

    With a ``sink``, the first half goes there as it comes and is not stored, so that a large limit costs no memory.
    """

    def __init__(self, limit: int, sink: Callable[[bytes], object] | None = None) -> None:
        self.head_room = limit - limit // 2
        self.tail_limit = limit // 2
        self.sink = sink
        self.head = bytearray()
        self._tail: collections.deque[bytes] = collections.deque()
        self._tail_size = 0
        self._evicted = 0
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Add the next bytes."""
        self.total += len(data)
        if self.head_room:
            first = data[: self.head_room]
            self.head_room -= len(first)
            if self.sink is not None:
                self.sink(first)
            else:
                self.head += first
            data = data[len(first) :]
        if data:
            self._tail.append(data)
            self._tail_size += len(data)
            while self._tail_size - len(self._tail[0]) >= self.tail_limit and len(self._tail) > 1:
                gone = len(self._tail.popleft())
                self._tail_size -= gone
                self._evicted += gone

    def end(self) -> tuple[bytes, int]:
        """Return the retained tail, and the number of bytes dropped before it."""
        joined = b"".join(self._tail)
        over = max(0, len(joined) - self.tail_limit)
        return joined[over:], self._evicted + over

    def text(self, limit: int | None = None) -> bytes:
        """Return the retained output, shortened to ``limit`` bytes.

        A line marks missing bytes.
        """
        tail, dropped = self.end()
        head = bytes(self.head)
        if limit is not None and len(head) + len(tail) > limit:
            whole = len(head) + len(tail)
            head, tail = (head + tail)[: limit - limit // 2], (head + tail)[whole - limit // 2 :]
            dropped += whole - limit
        if not dropped:
            return head + tail
        return head + b"\n[... %d bytes dropped ...]\n" % dropped + tail


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
        self._stop_reason: str | None = None
        self._status: int | None = None
        self._errno = 0
        self._report = b""
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
        if self._stop_reason is None and self._status is None:
            self._stop_reason = reason
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
        self._report += data
        dead = False
        while len(self._report) >= MESSAGE.size:
            kind, value = MESSAGE.unpack_from(self._report)
            self._report = self._report[MESSAGE.size :]
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
            reason = self._stop_reason or ("signalled" if signalled else "exited")
            if self._stop_reason:
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


class JobTable:
    """All jobs of this sandbox, oldest first."""

    def __init__(self, loop: EventLoop, supervisors: SupervisorPool, kills: Callable[[], int], folder: str) -> None:
        self._loop = loop
        self._supervisors = supervisors
        self._kills = kills
        self._folder = folder
        self._jobs: dict[str, Job] = {}
        self._count = 0

    def start(self, command: str, env: dict[str, str], cwd: str, timeout: float) -> Job:
        """Start a job and return its status."""
        self._count += 1
        job = Job(self._loop, self._supervisors, self._kills, f"j{self._count}", command, self._folder)
        self._jobs[job.name] = job
        job.run.start(command, env, cwd, b"", timeout)
        for name in [n for n, j in self._jobs.items() if j.outcome is not None][: max(0, len(self._jobs) - MAX_JOBS)]:
            del self._jobs[name]
        return job

    def find(self, name: str) -> Job | None:
        """Return the job of that name, or None."""
        return self._jobs.get(name)

    def all(self) -> list[Job]:
        """Return every job, oldest first."""
        return list(self._jobs.values())


class Job:
    """A background job: a command whose end is recorded."""

    def __init__(
        self,
        loop: EventLoop,
        supervisors: SupervisorPool,
        kills: Callable[[], int],
        name: str,
        command: str,
        folder: str,
    ) -> None:
        self.name = name
        self.command = command
        self.outcome: dict[str, Any] | None = None
        self.waiting: list[list[Any]] = []
        self.capture = OutputBuffer(OUTPUT_CAP)
        self.run = Command(loop, supervisors, kills, self.capture, self._ended)
        self._loop = loop
        self._path = f"{folder}/{name}.log"
        self._flush = loop.call_later(_FLUSH_SECONDS, self._save)
        self._saved = -1

    def status(self) -> dict[str, Any]:
        """Return the status for the controller."""
        fields: dict[str, Any] = {
            "job": self.name,
            "command": self.command,
            "running": self.outcome is None,
            "seconds": time.monotonic() - self.run.started,
            "limit": self.run.timeout,
        }
        if self.outcome is not None:
            fields["seconds"] = self.outcome["seconds"]
            fields["outcome"] = self.outcome
            fields["output"] = self.text(_LAST_BYTES).decode(errors="replace")
            fields["dropped"] = max(0, self.capture.total - _LAST_BYTES)
        return fields

    def text(self, limit: int) -> bytes:
        """Return its output, or the reason if it never started."""
        text = self.capture.text(limit)
        if self.outcome is not None and "error" in self.outcome:
            text += self.outcome["error"].encode() + b"\n"
        return text

    def wait(self, seconds: float, answer: Callable[[Job], object]) -> None:
        """Call ``answer(job)`` after its end or the timeout."""
        if self.outcome is not None:
            answer(self)
            return
        entry: list[Any] = []

        def now() -> None:
            self.waiting.remove(entry)
            answer(self)

        entry[:] = [self._loop.call_later(seconds, now), answer]
        self.waiting.append(entry)

    def _ended(self, outcome: dict[str, Any]) -> None:
        self.outcome = outcome
        self._loop.cancel(self._flush)
        self._save(again=False)
        waiting, self.waiting = self.waiting, []
        for timer, answer in waiting:
            self._loop.cancel(timer)
            answer(self)

    def _save(self, again: bool = True) -> None:
        if self.capture.total != self._saved:
            self._saved = self.capture.total
            temporary = f"{self._path}.part"
            try:
                os.makedirs(os.path.dirname(self._path), exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                fd = os.open(temporary, flags, 0o644)
                try:
                    os.write(fd, self.text(OUTPUT_CAP))
                finally:
                    os.close(fd)
                os.replace(temporary, self._path)
            except OSError:  # the workspace is full or the folder was taken over; the output is still in here
                self._saved = -1
        if again:
            self._flush = self._loop.call_later(_FLUSH_SECONDS, self._save)
