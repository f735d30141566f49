"""A pool of worker processes for bounded calls on untrusted code or text.

Each call has limits of time and memory. A thread cannot be stopped and shares the interpreter's lock with the event
loop; a process can be killed and shares nothing. Processes stay warm between calls; one that exceeds a limit is killed
and replaced. They run this program's own code (a parser, a diff, a plug-in), never a submission.
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
"""Inherited environment: processes that read untrusted input get no key or password."""


async def run_in_worker(
    function: Callable[[*Ts], T],
    *args: *Ts,
    seconds: float = DEFAULT_SECONDS,
    memory: int = DEFAULT_MEMORY_BYTES,
    pool: WorkerPool | None = None,
) -> T:
    """Call ``run_in_worker_sync`` off the event loop.

    Cancelling the call kills its process.
    """
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
    """Call a function in another process and return its result. Blocks.

    Args:
        function: of a module that can be imported, found by its name there.
        args: pickled, like the result; paths should be absolute.
        seconds: of wall clock, and of CPU time on every core.
        memory: bytes that the call may allocate beyond those of the process.
        pool: the pool that serves it; None takes the shared pool.

    Raises:
        BoundExceeded: it took too long or too much memory, or its process died.
        Exception: the function's own exception, where it can be pickled; else BoundExceeded, which names its type.
    """
    return _run(function, args, seconds, memory, pool or _processes, None)


def warm_up(*functions: Callable[..., Any]) -> None:
    """Start a process and import the modules of ``functions`` there.

    The first call then does not wait for it.
    """
    run_in_worker_sync(len, [function.__name__ for function in functions])
    for function in functions:
        run_in_worker_sync(_import, pickle.dumps(function))


def _import(function: bytes) -> None:
    pickle.loads(function)  # noqa: S301 - made by warm_up


class _Process:
    """A worker process that serves one call at a time."""

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
        """True if it can take another call."""
        return self._child.poll() is None and not self._connection.poll()

    def call(self, request: bytes, seconds: float, cancelled: threading.Event | None) -> tuple[str, Any]:
        """Return the kind of result and the result.

        Raises EOFError or OSError if the process died, TimeoutError.
        """
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
        # Written by our own code, which executes none of its input.
        kind, answer = pickle.loads(memoryview(received)[1:])  # noqa: S301
        return kind, answer

    def end(self) -> int:
        """Kill the process with its descendants and return its exit reason.

        The reason is that of a process that was ending by itself.
        """
        self._connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(0.2)  # it ends by itself when the connection closes, unless it is busy
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        return self._child.wait()


def _safe_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}


class WorkerPool:
    """A bounded pool of worker processes.

    They stay warm between calls and end with this process.

    Args:
        most: concurrent processes; further calls wait, and their time begins when they start.
        environment: returns the environment of a new process.
    """

    def __init__(self, most: int = _MOST, environment: Callable[[], dict[str, str]] = _safe_environment) -> None:
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
        """Retain a process for the next call."""
        with self._lock:
            self._idle.append(process)

    def close(self) -> None:
        """End the idle processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _forget(self) -> None:
        """Drop the processes in a forked child: they belong to the parent."""
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
        reusable = False
        try:
            kind, answer = process.call(request, seconds, cancelled)
            reusable = process.serves_on
        except TimeoutError:
            raise BoundExceeded("time", f"{name} took longer than {seconds:g} s and was stopped") from None
        except (EOFError, OSError):
            raise _died(process.end(), name, seconds) from None
        finally:
            if reusable:
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
            raise BoundExceeded("died", f"{name} raised an error that cannot be pickled ({answer})")


def _died(status: int, name: str, seconds: float) -> BoundExceeded:
    if -status in (signal.SIGXCPU, signal.SIGALRM):
        return BoundExceeded("time", f"{name} took longer than {seconds:g} s and was stopped")
    return BoundExceeded("died", f"{name} ended its process (status {status})")
