"""Calls with limits of time and memory, each in a process of its own: for whatever looks at untrusted code or text.

A thread cannot be stopped and shares the interpreter's lock with the event loop; a process can be killed and shares
nothing. Processes are kept warm between calls; one that overran is killed and replaced. They run this program's own
code (a parser, a diff, a plug-in), never a submission.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import anyio.to_thread
from anyio import CapacityLimiter

from aar.errors import BoundExceeded
from aar.workers.worker_process import SERVES_ON

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

DEFAULT_SECONDS = 20.0
DEFAULT_MEMORY_BYTES = 1024**3
_MOST = max(2, min(4, os.cpu_count() or 2))
_MOST_ANSWER_BYTES = 256 * 1024**2
_POLL_SECONDS = 0.05
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
"""What a process inherits: no key or password is within reach of what reads untrusted input."""


async def run_in_worker(
    function: Callable[[*Ts], T],
    *args: *Ts,
    seconds: float = DEFAULT_SECONDS,
    memory: int = DEFAULT_MEMORY_BYTES,
    pool: WorkerPool | None = None,
) -> T:
    """Call ``run_in_worker_sync`` off the event loop; a call that is cancelled has its process killed."""
    cancelled, place = threading.Event(), pool or _processes

    def run() -> T:
        return _run(function, args, seconds, memory, place, cancelled)

    try:
        return await anyio.to_thread.run_sync(run, abandon_on_cancel=True, limiter=place.threads)
    finally:
        cancelled.set()


def run_in_worker_sync(
    function: Callable[[*Ts], T],
    *args: *Ts,
    seconds: float = DEFAULT_SECONDS,
    memory: int = DEFAULT_MEMORY_BYTES,
    pool: WorkerPool | None = None,
) -> T:
    """Call a function in another process and return what it returns; blocks.

    Args:
        function: of a module that can be imported, found by its name there.
        args: they and the answer are pickled; paths should be absolute.
        seconds: of wall clock, and of CPU time on every core.
        memory: bytes that the call may take beyond those the process has.
        pool: whose processes serve it; None takes those that all share.

    Raises:
        BoundExceeded: it took too long or too much memory, or its process died.
        Exception: what the function raised, where that can be pickled; else BoundExceeded, which names its type.
    """
    return _run(function, args, seconds, memory, pool or _processes, None)


def warm_up(*functions: Callable[..., Any]) -> None:
    """Start a process and import the modules of ``functions`` there, so that the first call does not wait for it."""
    run_in_worker_sync(len, [function.__name__ for function in functions])
    for function in functions:
        run_in_worker_sync(_import, pickle.dumps(function))


def _import(function: bytes) -> None:
    pickle.loads(function)  # noqa: S301 - made by warm_up


class _Process:
    """A process that answers one call at a time."""

    def __init__(self, environment: dict[str, str]) -> None:
        ours, theirs = socket.socketpair()
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(each).absolute()) for each in sys.path)
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "aar.workers.worker_process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        self._connection = Connection(ours.detach())
        self.serves_on = False

    def alive(self) -> bool:
        """Return True if it can take another call."""
        return self._child.poll() is None and not self._connection.poll()

    def call(self, request: bytes, seconds: float, cancelled: threading.Event | None) -> tuple[str, Any]:
        """Return the kind of answer and the answer. Raises EOFError or OSError if it died, TimeoutError."""
        self.serves_on = False
        self._connection.send_bytes(request)
        until = time.monotonic() + seconds
        while not self._connection.poll(min(_POLL_SECONDS, max(0.0, until - time.monotonic()))):
            if time.monotonic() >= until or (cancelled is not None and cancelled.is_set()):
                raise TimeoutError
            if self._child.poll() is not None and not self._connection.poll():
                raise EOFError  # something that it started may hold the connection open
        received = self._connection.recv_bytes(_MOST_ANSWER_BYTES)
        self.serves_on = received.startswith(SERVES_ON)
        # Written by our own code, which runs nothing of what it reads.
        kind, answer = pickle.loads(memoryview(received)[1:])  # noqa: S301
        return kind, answer

    def end(self) -> int:
        """Kill it with all that it started, and return how it ended, were it ending by itself."""
        self._connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(0.2)  # it ends by itself when the connection closes, unless it is busy
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        return self._child.wait()


def _few() -> dict[str, str]:
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}


class WorkerPool:
    """Processes that serve bounded calls, kept warm between them; they end with this process.

    Args:
        most: processes at the same time; further calls wait, and their time begins when they start.
        environment: makes what a new process inherits.
    """

    def __init__(self, most: int = _MOST, environment: Callable[[], dict[str, str]] = _few) -> None:
        self._most = most
        self.environment = environment
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self.places = threading.BoundedSemaphore(most)
        self.threads = CapacityLimiter(2 * most)
        atexit.register(self.close)
        os.register_at_fork(after_in_child=self._forget)

    def acquire(self) -> _Process:
        """Return a warm process, or a new one."""
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None:
                return _Process(self.environment())
            if process.alive():
                return process
            process.end()

    def release(self, process: _Process) -> None:
        """Keep a process for the next call."""
        with self._lock:
            self._idle.append(process)

    def close(self) -> None:
        """End those that wait."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _forget(self) -> None:
        """In a forked child: the processes are the parent's."""
        self._lock = threading.Lock()
        self._idle = []
        self.places = threading.BoundedSemaphore(self._most)
        self.threads = CapacityLimiter(2 * self._most)


_processes = WorkerPool()


def _run(
    function: Callable[[*Ts], T],
    args: tuple[*Ts],
    seconds: float,
    memory: int,
    pool: WorkerPool,
    cancelled: threading.Event | None,
) -> T:
    request = pickle.dumps((seconds, memory, pickle.dumps((function, args))))
    name = function.__name__.strip("_").replace("_", " ")
    with pool.places:
        if cancelled is not None and cancelled.is_set():
            raise BoundExceeded("time", f"{name} was cancelled before it began")
        process = pool.acquire()
        kept = False
        try:
            kind, answer = process.call(request, seconds, cancelled)
            kept = process.serves_on
        except TimeoutError:
            raise BoundExceeded("time", f"{name} took longer than {seconds:g} s and was stopped") from None
        except (EOFError, OSError):
            raise _died(process.end(), name, seconds) from None
        finally:
            if kept:
                pool.release(process)
            else:
                process.end()
    match kind:
        case "value":
            return answer  # type: ignore[no-any-return]
        case "error":
            raise answer
        case "memory":
            raise BoundExceeded("memory", f"{name} took more than {memory / 1024**2:.0f} MiB of memory")
        case _:
            raise BoundExceeded("died", f"{name} ended with an error of its own ({answer})")


def _died(status: int, name: str, seconds: float) -> BoundExceeded:
    if -status in (signal.SIGXCPU, signal.SIGALRM):
        return BoundExceeded("time", f"{name} took longer than {seconds:g} s and was stopped")
    return BoundExceeded("died", f"{name} ended its process (status {status})")
