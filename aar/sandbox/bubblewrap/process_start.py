"""Start of bwrap, and identification of the sandbox's first process on the host.

bwrap outlives this process.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from aar.errors import SandboxError
from aar.processes import kill_family
from aar.sandbox.bubblewrap.arguments import BwrapDescriptors

_INFO, _BLOCK = 10, 11
_START_SECONDS = 20.0


def start_bwrap(
    arguments: Callable[[BwrapDescriptors], Sequence[str]], log: Path, before_run: Callable[[int], None]
) -> int:
    """Start bwrap in its own session. Blocks.

    Args:
        arguments: builds the argument vector, without ``bwrap``.
        log: file for its error output.
        before_run: called with the first process's pid before anything in the sandbox runs (to limit it).

    Returns:
        Pid of bwrap itself, a child of this process.

    Raises:
        SandboxError: it did not start; quotes its error output.
    """
    with ExitStack() as whole, ExitStack() as given:
        # The first process waits until something is written here, or until no writer is left.
        block_read, block_write = _pipe(given, whole)
        info_read, info_write = _pipe(whole, given)
        said = _owned(given, os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        nothing = _owned(given, os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        # The targets' numbers may be in use as sources: move the sources out of the way first.
        high = [_duplicate(given, fd) for fd in (info_write, block_read, said, nothing)]
        program = shutil.which("bwrap") or "bwrap"
        pid = os.posix_spawn(
            program,
            ["bwrap", *arguments(BwrapDescriptors(_INFO, _BLOCK))],
            {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, high[3], 0),
                (os.POSIX_SPAWN_DUP2, high[2], 1),
                (os.POSIX_SPAWN_DUP2, high[2], 2),
                (os.POSIX_SPAWN_DUP2, high[0], _INFO),
                (os.POSIX_SPAWN_DUP2, high[1], _BLOCK),
            ],
            setsid=True,
        )
        try:
            given.close()
            first = _first_process(info_read)
            if first is None:
                raise SandboxError(
                    f"bwrap did not start: {log.read_text(errors='replace').strip()[:500] or 'no error output'}"
                )
            before_run(first)
            os.write(block_write, b"1")
        except BaseException:
            # Before the block is lifted: the waiting process would run without limits.
            kill_family(pid)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
            raise
        return pid


def _pipe(read_owner: ExitStack, write_owner: ExitStack) -> tuple[int, int]:
    read, write = os.pipe2(os.O_CLOEXEC)
    return _owned(read_owner, read), _owned(write_owner, write)


def _duplicate(owner: ExitStack, fd: int) -> int:
    return _owned(owner, fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20))


def _owned(owner: ExitStack, fd: int) -> int:
    owner.callback(os.close, fd)
    return fd


def _first_process(info: int) -> int | None:
    """Return the pid in bwrap's JSON. None if bwrap ended without writing it."""
    told = b""
    deadline = time.monotonic() + _START_SECONDS
    poll = select.poll()
    poll.register(info, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if not poll.poll(left * 1000):
            return None
        piece = os.read(info, 4096)
        told += piece
        try:
            return int(json.loads(told)["child-pid"])
        except ValueError:
            if not piece:
                return None
    return None
