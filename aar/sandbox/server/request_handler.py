"""The server's operations for the controller, one method each."""

from __future__ import annotations

import os
import time

from . import files
from .command import Command
from .command_supervisors import SupervisorPool
from .jobs import Job, JobTable
from .output_buffer import OutputBuffer
from .process_table import list_processes, total_usage

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Callable
    from typing import Any

    from .event_loop import EventLoop
    from .framing import FrameConnection

_SLOW_READER = 8 << 20
_FLUSH_BYTES = 1 << 18
_FLUSH_SECONDS = 0.002


class RequestHandler:
    """Handles requests. Replies go to the requesting connection while it lasts."""

    def __init__(self, loop: EventLoop, kills: Callable[[], int], env: dict[str, str]) -> None:
        self.loop = loop
        self.supervisors = SupervisorPool(loop)
        self.jobs = JobTable(loop, self.supervisors, kills, f"{files.WORKSPACE}/.jobs")
        self.connection: FrameConnection | None = None
        self._kills = kills
        self._env = env
        self._running: dict[int, Command] = {}
        self._paused = False
        self._began = time.monotonic()

    def running(self) -> list[Command]:
        """Every command that runs now, jobs included."""
        return [*self._running.values(), *(job.run for job in self.jobs.all() if job.outcome is None)]

    def connected(self, connection: FrameConnection) -> None:
        """Handle a new connection of a controller."""
        self.connection = connection

    def lost(self) -> None:
        """End foreground commands after the controller left.

        Jobs go on: only the output of foreground commands has no reader.
        """
        self.connection = None
        for command in list(self._running.values()):
            command.stop("stopped")

    def drained(self) -> None:
        """Resume reading the output that waited for a slow controller."""
        if self._paused and self.connection is not None and self.connection.queued < _SLOW_READER // 2:
            self._paused = False
            for command in self._running.values():
                command.pause(False)

    def handle(self, request: dict[str, Any], payload: bytes) -> None:
        """Handle one request. A failure becomes an error reply."""
        connection, number = self.connection, request.get("id")

        def answer(fields: dict[str, Any], data: bytes = b"") -> None:
            if connection is not None and connection is self.connection:
                last = {"id": number, "done": fields}
                connection.send_all({"id": number}, data, last)

        try:
            operation = getattr(self, "op_" + request["op"])
            operation(request, payload, answer)
        except files.FileRefused as refused:
            answer({"error": "refused", "message": str(refused)})
        except OSError as error:
            answer({"error": "os", "errno": error.errno or 0, "message": error.strerror or str(error)})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            answer({"error": "request", "message": f"{type(error).__name__}: {error}"})

    def op_ping(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        answer({"uptime": time.monotonic() - self._began})

    def op_exec(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        number, connection = request["id"], self.connection

        waiting = bytearray()

        def flush() -> None:
            if waiting and connection is not None and connection is self.connection:
                connection.send({"id": number}, bytes(waiting))
                if connection.queued > _SLOW_READER and not self._paused:
                    self._paused = True
                    for command in self._running.values():
                        command.pause(True)
            waiting.clear()

        def stream(data: bytes) -> None:
            """Join many small pieces into a few larger ones, at most two milliseconds late."""
            if not waiting:
                self.loop.call_later(_FLUSH_SECONDS, flush)
            waiting.extend(data)
            if len(waiting) >= _FLUSH_BYTES:
                flush()

        capture = OutputBuffer(request["limit"], stream)

        def ended(outcome: dict[str, Any]) -> None:
            self._running.pop(number, None)
            if "error" in outcome:
                capture.feed(outcome["error"].encode() + b"\n")
            flush()
            tail, outcome["dropped"] = capture.end()
            answer(outcome, tail)

        command = Command(self.loop, self.supervisors, self._kills, capture, ended)
        self._running[number] = command
        cwd = files.resolve_path(request["cwd"])
        command.start(request["command"], {**self._env, **request["env"]}, cwd, payload, request["timeout"])
        if self._paused:
            command.pause(True)

    def op_cancel(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        command = self._running.get(request["target"])
        if command is not None:
            command.stop("stopped")
        answer({})

    def op_job_start(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        env = {**self._env, **request["env"]}
        job = self.jobs.start(request["command"], env, files.resolve_path(request["cwd"]), request["timeout"])
        answer(job.status())

    def op_job_wait(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        self._job(request).wait(request["seconds"], lambda job: answer(job.status()))

    def op_job_output(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        answer({}, self._job(request).text(request["limit"]))

    def op_job_stop(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        job = self._job(request)
        if job.outcome is None:
            job.run.stop("stopped")
        job.wait(request["seconds"], lambda job: answer(job.status()))

    def op_jobs(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        answer({"jobs": [job.status() for job in self.jobs.all()]})

    def op_read(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        data, size = files.read(request["path"], request["offset"], request["length"])
        answer({"size": size}, data)

    def op_write(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        files.write(request["path"], payload, request["append"], request.get("mode"))
        answer({})

    def op_mkdir(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        os.makedirs(files.resolve_path(request["path"]), exist_ok=True)
        answer({})

    def op_list(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        answer({"entries": files.list_tree(request["path"], request["most"], request["levels"])})

    def op_stats(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        used = files.disk_usage(files.WORKSPACE) if request["workspace"] else 0
        memory, cpu = total_usage()
        answer({"workspace": used, "processes": len(list_processes()), "memory": memory, "cpu": cpu})

    def _job(self, request: dict[str, Any]) -> Job:
        job = self.jobs.find(request["job"])
        if job is None:
            raise ValueError(f"no job {request['job']}")
        return job
