"""The server's operations for the controller, one method each.

Files are read and written in pieces with the rights of commands.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from .command import Command, Job, JobTable, OutputBuffer
from .processes import SupervisorPool, list_processes, total_usage

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Callable
    from typing import Any

    from .event_loop import EventLoop
    from .framing import FrameConnection


WORKSPACE = "/workspace"
_SLOW_READER = 8 << 20
_FLUSH_BYTES = 1 << 18
_FLUSH_SECONDS = 0.002


class FileRefused(Exception):
    """A requested file that is too large, or not a regular file."""


def resolve_path(path: str) -> str:
    """Return an absolute path. Relative ones start at the workspace."""
    return os.path.join(WORKSPACE, path)


def read_file(path: str, offset: int, length: int) -> tuple[bytes, int]:
    """Return ``(bytes, size of the file)``. Raises OSError, FileRefused.

    Never waits on a pipe or a device.
    """
    fd = os.open(resolve_path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        info = os.fstat(fd)
        if stat.S_ISDIR(info.st_mode):
            raise IsADirectoryError(errno.EISDIR, path)
        if not stat.S_ISREG(info.st_mode):
            raise FileRefused(f"{path} is not a regular file")
        pieces, position = [], offset
        while length > 0:
            piece = os.pread(fd, length, position)
            if not piece:
                break
            pieces.append(piece)
            position += len(piece)
            length -= len(piece)
        return b"".join(pieces), info.st_size
    finally:
        os.close(fd)


def write_file(path: str, data: bytes, append: bool, mode: int | None) -> None:
    """Write or extend a file, making its parents. Raises OSError, FileRefused."""
    full = resolve_path(path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    flags |= os.O_APPEND if append else os.O_TRUNC
    fd = os.open(full, flags, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileRefused(f"{path} is not a regular file")
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if mode is not None:
            os.fchmod(fd, mode & 0o777)
    finally:
        os.close(fd)


def list_tree(path: str, most: int, levels: int) -> list[tuple[str, int, int]]:
    """List regular files and folders below a directory: ``[[relative path, size or -1, mode], ...]``.

    Raises OSError, FileRefused (a link, device, pipe or socket; more than ``most`` entries; more than ``levels`` levels
    of folders).
    """
    top = resolve_path(path)
    found: list[tuple[str, int, int]] = []
    todo = [""]
    while todo:
        folder = todo.pop()
        with os.scandir(os.path.join(top, folder)) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                info = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(info.st_mode):
                    if name.count("/") + 1 >= levels:
                        raise FileRefused(
                            f"{path} nests deeper than {levels} levels: flatten it, or name a smaller folder"
                        )
                    todo.append(name)
                    found.append((name, -1, info.st_mode & 0o777))
                elif stat.S_ISREG(info.st_mode):
                    found.append((name, info.st_size, info.st_mode & 0o777))
                else:
                    raise FileRefused(f"{name} is a link, device, pipe or socket")
                if len(found) > most:
                    raise FileRefused(f"more than {most} files")
    return found


def disk_usage(path: str) -> int:
    """Return the bytes that a tree takes on its disk.

    Files that vanish meanwhile are not counted.
    """
    total, todo = 0, [path]
    seen: set[int] = set()
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    info = entry.stat(follow_symlinks=False)
                    if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
                        if info.st_ino in seen:
                            continue
                        seen.add(info.st_ino)
                    total += info.st_blocks * 512
                    if stat.S_ISDIR(info.st_mode):
                        todo.append(entry.path)
        except OSError:  # gone meanwhile, or closed to its own owner by a command
            continue
    return total


class RequestHandler:
    """Handles requests. Replies go to the requesting connection while it lasts."""

    def __init__(self, loop: EventLoop, kills: Callable[[], int], env: dict[str, str]) -> None:
        self.loop = loop
        self.supervisors = SupervisorPool(loop)
        self.jobs = JobTable(loop, self.supervisors, kills, f"{WORKSPACE}/.jobs")
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
        except FileRefused as refused:
            answer({"error": "refused", "message": str(refused)})
        except OSError as error:
            answer({"error": "os", "errno": error.errno or 0, "message": error.strerror or str(error)})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            answer({"error": "request", "message": f"{type(error).__name__}: {error}"})

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
        cwd = resolve_path(request["cwd"])
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
        job = self.jobs.start(request["command"], env, resolve_path(request["cwd"]), request["timeout"])
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
        data, size = read_file(request["path"], request["offset"], request["length"])
        answer({"size": size}, data)

    def op_write(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        write_file(request["path"], payload, request["append"], request.get("mode"))
        answer({})

    def op_mkdir(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        os.makedirs(resolve_path(request["path"]), exist_ok=True)
        answer({})

    def op_list(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        answer({"entries": list_tree(request["path"], request["most"], request["levels"])})

    def op_stats(self, request: dict[str, Any], payload: bytes, answer: Callable[..., None]) -> None:
        used = disk_usage(WORKSPACE) if request["workspace"] else 0
        memory, cpu = total_usage()
        answer({"workspace": used, "processes": len(list_processes()), "memory": memory, "cpu": cpu})

    def _job(self, request: dict[str, Any]) -> Job:
        job = self.jobs.find(request["job"])
        if job is None:
            raise ValueError(f"no job {request['job']}")
        return job
