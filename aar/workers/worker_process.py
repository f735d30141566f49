"""The worker process of ``aar.workers.worker_pool``: one call after the other, each with limits.

Imports nothing beyond the standard library, so that it starts fast; the called function's module is imported when it is
first needed and stays.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import pickle
import resource
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ENDS, SERVES_ON = b"-", b"+"
"""First byte of each reply."""
_LEFT_BEHIND = 1 / 4
"""Share of a call's memory that calls together may leave in a process that serves on; more would add up. Data that a
problem keeps between calls fits well below that."""
_GRACE_SECONDS = 2
"""The parent stops an overrun first; these limits hold where the parent is gone."""


def main() -> None:
    """Serve calls until the other side closes."""
    # An interrupt at the terminal is for the parent, which closes the connection when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection, own = Connection(int(sys.argv[1])), os.getpid()
    grown = 0
    with contextlib.suppress(EOFError, OSError):
        while True:
            seconds, memory, call = pickle.loads(connection.recv_bytes())  # noqa: S301 - from the parent
            _limit(seconds, memory)
            answer, spoiled, growth = _answer(call)
            if os.getpid() != own:
                os._exit(0)  # a copy that the call made of this process: its answer would be taken for the next call's
            _unlimit()
            grown += growth
            spoiled = spoiled or grown > memory * _LEFT_BEHIND
            connection.send_bytes((ENDS if spoiled else SERVES_ON) + answer)
            if spoiled:
                return


def _limit(seconds: float, memory: int) -> None:
    signal.alarm(math.ceil(seconds) + _GRACE_SECONDS)
    usage, cores = resource.getrusage(resource.RUSAGE_SELF), os.cpu_count() or 1  # a library may compute on all of them
    _set(resource.RLIMIT_CPU, math.ceil(usage.ru_utime + usage.ru_stime + seconds * cores) + _GRACE_SECONDS)
    _set(resource.RLIMIT_AS, _address_space() + memory)


def _unlimit() -> None:
    signal.alarm(0)
    for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS):
        _set(kind, resource.RLIM_INFINITY)


def _set(kind: int, soft: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        soft = hard if soft == resource.RLIM_INFINITY else min(soft, hard)
    with contextlib.suppress(OSError, ValueError):  # macOS rejects a limit below the memory already mapped
        resource.setrlimit(kind, (soft, hard))


def _address_space() -> int:
    """Return bytes that are already mapped: a limit counts from here."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return 2**34
    return pages * os.sysconf("SC_PAGE_SIZE")


def _answer(call: bytes) -> tuple[bytes, bool, int]:
    """Return the pickled result, a flag to end this process, and leftover bytes.

    The flag is set if the process should not serve again. The bytes are those left behind by the call.
    """
    before = _address_space()
    try:
        function, args = pickle.loads(call)  # noqa: S301 - from the parent
        before = _address_space()  # modules stay
        answer = pickle.dumps(("value", function(*args)))
    except MemoryError:
        return pickle.dumps(("memory", "")), True, 0
    except Exception as error:  # noqa: BLE001 - it is raised again on the other side
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return pickle.dumps(("memory", "")), True, 0
        answer = _failure(error)
    return answer, False, max(0, _address_space() - len(answer) - before)


def _failure(error: Exception) -> bytes:
    try:
        whole: Any = pickle.dumps(("error", error))
        pickle.loads(whole)  # noqa: S301 - made above
    except Exception:  # noqa: BLE001 - an error that does not survive the way is named instead
        return pickle.dumps(("failed", type(error).__name__))
    return bytes(whole)


if __name__ == "__main__":
    main()
