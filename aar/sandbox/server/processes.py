"""The processes of a sandbox: the process table, and the supervisors that start commands.

A supervisor is its command's child subreaper, so a daemon that forked twice and left its session is still found below
it; when it has no child left, the command's whole tree is proven dead. Then it may serve the next command: an idle one
is retained for a while, which saves a fork for every command.
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import signal
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Collection
    from typing import Any

    from .event_loop import EventLoop


PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36

libc = ctypes.CDLL(None, use_errno=True)
"""The C library, for calls that Python's standard library lacks."""
MESSAGE = struct.Struct("=ci")
"""Messages of a supervisor: b"S" and the command's wait status, b"E" and an errno, b"D" when its tree is dead."""
_SIZE = struct.Struct("=I")
_NICE = 5
_ROUNDS = 20
_IDLE_SECONDS = 20.0


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process. Raises OSError."""
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _live() -> dict[int, list[bytes]]:
    """Return the fields after the name in ``/proc/PID/stat``, for every process but zombies."""
    processes = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                line = file.read()
        except OSError:
            continue
        fields = line[line.rindex(b")") + 2 :].split()
        if fields[0] not in (b"Z", b"X"):
            processes[int(name)] = fields
    return processes


def list_processes() -> dict[int, int]:
    """Return live processes: pid -> parent. Zombies are left out."""
    return {pid: int(fields[1]) for pid, fields in _live().items()}


def total_usage() -> tuple[int, float]:
    """Return resident bytes and CPU seconds of all live processes.

    For hosts without accounting per sandbox.
    """
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    processes = _live().values()
    memory = sum(int(fields[21]) for fields in processes) * page
    return memory, sum(int(field) for fields in processes for field in fields[11:15]) / tick


def _descendants(roots: Collection[int], processes: dict[int, int], spare: Collection[int] = frozenset()) -> set[int]:
    """Return all live descendants of ``roots``.

    The roots themselves, and ``spare`` with all below them, are left out.
    """
    children: dict[int, list[int]] = {}
    for pid, parent in processes.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        for pid in children.get(todo.pop(), ()):
            if pid not in found and pid not in spare:
                found.add(pid)
                todo.append(pid)
    return found


def send_signal(pid: int, number: int) -> None:
    """Send a signal. Does nothing when the process has ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def kill_descendants(roots: Collection[int], spare: Collection[int] = frozenset()) -> bool:
    """Stop and then kill every descendant of ``roots`` outside ``spare``.

    Returns True if any was found.

    Stopping first: a stopped process still counts under the process limit, so a fork bomb cannot outrun the walk.
    """
    frozen: set[int] = set()
    for _ in range(_ROUNDS):
        fresh = _descendants(roots, list_processes(), spare) - frozen
        if not fresh:
            break
        for pid in fresh:
            send_signal(pid, signal.SIGSTOP)
        frozen |= fresh
    for pid in frozen:
        send_signal(pid, signal.SIGKILL)
    return bool(frozen)


class CommandSupervisor:
    """The server's handle of one supervisor."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self.sock = sock
        self.retiring: list[Any] | None = None

    def start(self, argv: list[str], env: dict[str, str], cwd: str, stdin: int, output: int) -> None:
        """Start a command under it. Raises OSError (the supervisor was killed)."""
        request = marshal.dumps((argv, env, cwd))
        self.sock.setblocking(True)
        socket.send_fds(self.sock, [_SIZE.pack(len(request))], [stdin, output])
        self.sock.sendall(request)
        self.sock.setblocking(False)


class SupervisorPool:
    """All supervisors of a sandbox."""

    def __init__(self, loop: EventLoop) -> None:
        self.alive: set[int] = set()
        """Pids of supervisors that were not reaped yet."""
        self._loop = loop
        self._idle: list[CommandSupervisor] = []

    def start(self, argv: list[str], env: dict[str, str], cwd: str, stdin: int, output: int) -> CommandSupervisor:
        """Run a command under an idle supervisor or a new one. Raises OSError (no process left)."""
        while self._idle:
            idle = self._idle.pop()
            self._loop.cancel(idle.retiring)
            try:
                idle.start(argv, env, cwd, stdin, output)
            except OSError:  # a command killed it while it was idle
                idle.sock.close()
                continue
            return idle
        fresh = self._fork()
        fresh.start(argv, env, cwd, stdin, output)
        return fresh

    def release(self, supervisor: CommandSupervisor) -> None:
        """Retain a supervisor for a while, once its command's tree is dead."""
        if self._idle:
            supervisor.sock.close()
            return
        self._idle.append(supervisor)

        def retire() -> None:
            self._idle.remove(supervisor)
            supervisor.sock.close()

        supervisor.retiring = self._loop.call_later(_IDLE_SECONDS, retire)

    def _fork(self) -> CommandSupervisor:
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            try:
                _serve(theirs)
            finally:
                os._exit(1)
        theirs.close()
        self.alive.add(pid)
        return CommandSupervisor(pid, ours)


def _serve(sock: socket.socket) -> None:
    """Run commands one after the other, until the server closes the connection."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.closerange(3, sock.fileno())
    os.closerange(sock.fileno() + 1, 1 << 16)
    os.setsid()
    os.nice(_NICE)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    while True:
        size, fds, _flags, _address = socket.recv_fds(sock, _SIZE.size, 2)
        if not size:
            os._exit(0)
        (missing,) = _SIZE.unpack(size)
        request = b""
        while len(request) < missing:
            request += sock.recv(missing - len(request))
        argv, env, cwd = marshal.loads(request)  # noqa: S302 - from the server that this process was forked from
        try:
            child = _spawn(argv, env, cwd, *fds)
        except OSError as error:
            sock.sendall(MESSAGE.pack(b"E", error.errno or errno.EIO))
            child = 0
        finally:
            for fd in fds:
                os.close(fd)
        sock.sendall(_reap_all(child, sock) + MESSAGE.pack(b"D", 0))


def _reap_all(child: int, sock: socket.socket) -> bytes:
    """Wait until no descendant is left.

    The command's status is reported at once where other processes remain.
    """
    report = b""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG if report else 0)
        except ChildProcessError:
            return report
        if pid == 0:
            sock.sendall(report)
            report = b""
        elif pid == child:
            report = MESSAGE.pack(b"S", status)


def _spawn(argv: list[str], env: dict[str, str], cwd: str, stdin: int, output: int) -> int:
    os.chdir(cwd)
    os.environ["PATH"] = env.get("PATH", os.defpath)
    child = os.posix_spawnp(
        argv[0],
        argv,
        env,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD],
    )
    _prefer_as_victim(child)
    return child


def _prefer_as_victim(pid: int) -> None:
    """Make the kernel kill the command before the server when memory runs out."""
    try:
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY)
    except OSError:  # it is gone already
        return
    try:
        os.write(fd, b"500")
    except OSError:  # gone meanwhile; or a container that started above 500
        return
    finally:
        os.close(fd)
