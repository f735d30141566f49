"""One supervisor per command: a fork of the server that adopts everything the command leaves behind.

It is the command's child subreaper, so a daemon that forked twice and left its session is still found below it; when
it has no child left, the command's whole tree is proven dead, and it exits.
"""

from __future__ import annotations

import errno
import os
import signal
import struct

from .processes import PR_SET_CHILD_SUBREAPER, prctl

STATUS = struct.Struct("=ci")
"""What goes through the report pipe: b"S" and a wait status, or b"E" and an errno."""

alive: set[int] = set()
"""Pids of supervisors that were not reaped yet."""

_NICE = 5


def start(argv: list[str], env: dict[str, str], cwd: str, stdin: int, output: int, report: int) -> int:
    """Fork a supervisor for a command; returns its pid. Raises OSError (no process left)."""
    pid = os.fork()
    if pid:
        alive.add(pid)
        return pid
    code = 1
    try:
        code = _supervise(argv, env, cwd, stdin, output, report)
    finally:
        os._exit(code)


def _supervise(argv: list[str], env: dict[str, str], cwd: str, stdin: int, output: int, report: int) -> int:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    keep = sorted((stdin, output, report))
    for low, high in zip([2, *keep], [*keep, 1 << 16], strict=True):
        os.closerange(low + 1, high)
    os.setsid()
    os.nice(_NICE)
    try:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
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
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD],
        )
    except OSError as error:
        os.write(report, STATUS.pack(b"E", error.errno or errno.EIO))
        return 0
    os.close(output)
    _prefer_as_victim(child)
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return 0
        if pid == child:
            os.write(report, STATUS.pack(b"S", status))


def _prefer_as_victim(pid: int) -> None:
    """Let the kernel take the command, and not the server, when memory runs out."""
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
