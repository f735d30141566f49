"""Log configuration: standard error, or a file while the live view has the terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, cast

import structlog

from aar.redaction import redact

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


def log_to_stderr(level: str) -> None:
    """Send log lines of ``level`` and above to the current standard error.

    Used by commands that have not configured their log: structlog alone would print it among the command's output.
    """
    _configure_structlog(cast(TextIO, _Redacting(lambda: sys.stderr)), _number(level))


@contextmanager
def configure_logging(file: Path | None, level: str) -> Iterator[None]:
    """Send log lines of ``level`` and above to a file or standard error.

    Args:
        file: appended to; its folder is made.
        level: debug, info, warning, error or critical; anything else counts as warning.
    """
    number = _number(level)
    if file is None:
        _configure(sys.stderr, number)
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    stream = file.open("a", encoding="utf-8", buffering=1)
    _configure(stream, number)
    try:
        yield
    finally:
        _configure(sys.stderr, number)
        with suppress(OSError):  # on a full disk it cannot write what is left either
            stream.close()


class _Redacting:
    """A text stream that removes this process's secrets from what is written to it.

    A line that cannot be written is lost: a full disk or a closed reader of the log ends no work.
    """

    def __init__(self, stream: Callable[[], TextIO]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write one line to the stream, redacted."""
        with suppress(OSError, ValueError):  # a full disk, a terminal that is gone; a stream that was closed
            self._stream().write(redact(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with suppress(OSError, ValueError):
            self._stream().flush()


def _number(level: str) -> int:
    return _LEVELS.get(level.lower(), logging.WARNING)


def _configure(plain: TextIO, level: int) -> None:
    stream = cast(TextIO, _Redacting(lambda: plain))
    logging.basicConfig(stream=stream, level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True)
    _configure_structlog(stream, level)


def _configure_structlog(stream: TextIO, level: int) -> None:
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
