"""Where the program's own log goes: standard error, or a file while the live view has the terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


@contextmanager
def log_to(file: Path | None, level: str) -> Iterator[None]:
    """Send log lines of ``level`` and above to a file, or to standard error where there is none.

    Args:
        file: appended to; its folder is made.
        level: debug, info, warning, error or critical; anything else counts as warning.
    """
    number = _LEVELS.get(level.lower(), logging.WARNING)
    if file is None:
        _configure(sys.stderr, number)
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8", buffering=1) as stream:
        _configure(stream, number)
        try:
            yield
        finally:
            _configure(sys.stderr, number)


def _configure(stream: TextIO, level: int) -> None:
    logging.basicConfig(stream=stream, level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True)
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
