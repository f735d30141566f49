"""The process table: parents and children, and killing a whole tree."""

from __future__ import annotations

import ctypes
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing would take longer than the rest of the start
    from collections.abc import Collection

PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36

libc = ctypes.CDLL(None, use_errno=True)
"""The C library, for calls that Python's standard library lacks."""


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process. Raises OSError."""
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def list_processes() -> dict[int, tuple[int, bytes]]:
    """Return live processes: pid -> (parent, state). Zombies are left out."""
    processes = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                line = file.read()
        except OSError:
            continue
        state, parent = line[line.rindex(b")") + 2 :].split(None, 2)[:2]
        if state not in (b"Z", b"X"):
            processes[int(name)] = (int(parent), state)
    return processes


def total_usage() -> tuple[int, float]:
    """Return resident bytes and CPU seconds of all live processes.

    For hosts without accounting per sandbox.
    """
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    memory, ticks = 0, 0
    for pid in list_processes():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                line = file.read()
        except OSError:
            continue
        fields = line[line.rindex(b")") + 2 :].split()
        ticks += sum(int(field) for field in fields[11:15])
        memory += int(fields[21]) * page
    return memory, ticks / tick


def descendants(
    roots: Collection[int], processes: dict[int, tuple[int, bytes]], spare: Collection[int] = frozenset()
) -> set[int]:
    """Return all live descendants of ``roots``.

    The roots themselves, and ``spare`` with all below them, are left out.
    """
    children: dict[int, list[int]] = {}
    for pid, (parent, _state) in processes.items():
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


def kill_descendants(roots: Collection[int], spare: Collection[int] = frozenset(), rounds: int = 20) -> bool:
    """Stop and then kill every descendant of ``roots`` outside ``spare``.

    Returns True if any was found.

    Stopping first: a stopped process still counts under the process limit, so a fork bomb cannot outrun the walk.
    """
    frozen: set[int] = set()
    for _ in range(rounds):
        fresh = descendants(roots, list_processes(), spare) - frozen
        if not fresh:
            break
        for pid in fresh:
            send_signal(pid, signal.SIGSTOP)
        frozen |= fresh
    for pid in frozen:
        send_signal(pid, signal.SIGKILL)
    return bool(frozen)
