"""Best-effort steps: clean-up that is tried, waited for so long, and decides over nothing but itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog

log = structlog.get_logger(__name__)


async def best_effort(
    step: Awaitable[object], failed: Callable[[Exception], object], *, seconds: float | None = None
) -> bool:
    """Do a clean-up step; what becomes of it is told, and not raised.

    Returns whether it was done.

    Whoever waits may be cancelled: the step then goes on by itself.

    Args:
        step: an error that it ends with is no reason for anything else to end.
        failed: told that error, or a TimeoutError.
        seconds: longest that it is waited for; then it is cancelled. None waits to its end.
    """
    doing = asyncio.ensure_future(step)
    doing.add_done_callback(_heard)
    done, _ = await asyncio.wait([doing], timeout=seconds)
    if not done:
        doing.cancel()
        failed(TimeoutError(f"it was not done within {seconds:g} s"))
        return False
    if doing.cancelled():
        return False
    error = doing.exception()
    if error is None:
        return True
    if not isinstance(error, Exception):
        raise error
    failed(error)
    return False


def log_failure(what: str) -> Callable[[Exception], None]:
    """Tell the log alone.

    Args:
        what: could not be done, such as ``a connection could not be closed``.
    """

    def failed(error: Exception) -> None:
        log.warning(what, error=str(error) or type(error).__name__)

    return failed


@contextmanager
def suppress_and_log(what: str) -> Iterator[None]:
    """A block of clean-up whose error is told the log, and not raised; ``what`` is as for ``logged``."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - what came before it is the outcome
        log_failure(what)(error)


def _heard(ended: asyncio.Future[Any]) -> None:
    """Take note of an error that nobody waits for any more, so that asyncio does not complain of it."""
    if not ended.cancelled():
        ended.exception()
