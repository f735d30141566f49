"""Standard streams of a command: closed streams, terminals without some characters, closed pipes."""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import sys
from pathlib import Path
from typing import TextIO

_ERRORS = "aar-terminal"
_PLAIN = str.maketrans(
    {
        "–": "-",
        "—": "-",
        "−": "-",
        "…": "...",
        "±": "+/-",
        "×": "x",
        "·": "-",
        "→": "->",
        "█": "#",
        "░": ".",
        "┃": "|",
        "’": "'",
        "‘": "'",
        "“": '"',
        "”": '"',
        "✓": "+",
        "✗": "x",
        "␛": "^",
    }
)
"""Replacements for characters that a terminal lacks; others are printed as their escapes."""
_STANDARD = 3
_TERMINALS = tuple(number for number in range(_STANDARD) if os.isatty(number))
"""Read at the start: a terminal that hung up is no longer recognized as one."""
READER_GONE = 1
"""Exit code of a command whose reader has gone away; typer and rich use the same one."""


def prepare_streams() -> None:
    """Make the standard streams accept any text.

    A stream that was closed (``>&-``) becomes one to nowhere: a file opened later, such as the database, would take its
    descriptor, and what a child prints would be written into it.
    """
    while (taken := os.open(os.devnull, os.O_RDWR)) < _STANDARD:
        os.set_inheritable(taken, True)
    os.close(taken)
    codecs.register_error(_ERRORS, _plainly)
    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - open as long as the process
    sys.stdout = _fit(sys.stdout)
    sys.stderr = _fit(sys.stderr)


def is_reader_gone() -> bool:
    """Return whether the reader of the standard streams has gone away."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(happened & (select.POLLERR | select.POLLHUP) for _, happened in poll.poll(0))


def finish_output(code: str | int | None) -> str | int | None:
    """Flush standard output, and return the exit code.

    ``code`` is the exit code that the command would end with.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # `aar list | head` has read enough
        discard_output()
        return READER_GONE
    except OSError as error:
        with contextlib.suppress(OSError):
            print(f"error: output cannot be written: {error.strerror or error}", file=sys.stderr)
        discard_output()
        return code or 1
    return code


def discard_output() -> None:
    """Send all further output to nowhere, as it has no reader any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def detach_terminal() -> None:
    """Detach from a terminal that hung up, where a read or write would fail."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in _TERMINALS:
        os.dup2(nowhere, number)
    os.close(nowhere)


def _fit(stream: TextIO | None) -> TextIO:
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=_ERRORS)
    return stream


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end].translate(_PLAIN)
    return lacking.encode("ascii", "backslashreplace").decode("ascii"), error.end
