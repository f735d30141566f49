"""Background jobs, which outlive the controller.

Their bounded output is also a file in the workspace.
"""

from __future__ import annotations

import os
import time

from .command import Command
from .output_buffer import OutputBuffer

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Callable
    from typing import Any

    from .command_supervisors import SupervisorPool
    from .event_loop import EventLoop

OUTPUT_CAP = 2 << 20
MAX_JOBS = 1000
_FLUSH_SECONDS = 1.0
_LAST_BYTES = 4096


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
