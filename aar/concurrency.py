"""Runs blocking steps to completion, logs failed clean-ups and unwraps errors of parallel tasks.

A blocking step runs in a thread, to its end even when it is cancelled; its effects must be undone then. A clean-up step
has a timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog
from anyio import CancelScope

from aar.errors import AarError

T = TypeVar("T")
log = structlog.get_logger(__name__)


async def run_to_completion(step: Callable[[], T], undo: Callable[[], object] | None = None) -> T:
    """Run a step in a thread and return its result.

    A cancellation takes effect only after the thread has ended. A cancelled ``asyncio.to_thread`` leaves its thread at
    work, so that a mount, for example, would appear after the clean-up has searched for it.

    Args:
        step: the function to run; its exceptions are raised.
        undo: reverts a step that finished although it was cancelled.
    """
    running = asyncio.ensure_future(asyncio.to_thread(step))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with CancelScope(shield=True):
            await asyncio.wait([running])
            if not running.cancelled() and running.exception() is None and undo is not None:
                await asyncio.to_thread(undo)
        raise


async def best_effort(
    step: Awaitable[object], failed: Callable[[Exception], object], *, seconds: float | None = None
) -> bool:
    """Run a clean-up step and report its failure instead of raising it.

    Returns True if it succeeded.

    If the waiting task is cancelled, the step goes on by itself.

    Args:
        step: the step; its error ends nothing else.
        failed: called with that error, or a TimeoutError.
        seconds: longest wait before it is cancelled; None waits to its end.
    """
    doing = asyncio.ensure_future(step)
    doing.add_done_callback(_heard)
    done, _ = await asyncio.wait([doing], timeout=seconds)
    if not done:
        doing.cancel()
        failed(TimeoutError(f"it did not finish within {seconds:g} s"))
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
    """Return a handler that only logs the failure.

    Args:
        what: the failure, such as ``a connection could not be closed``.
    """

    def failed(error: Exception) -> None:
        log.warning(what, error=str(error) or type(error).__name__)

    return failed


@contextmanager
def suppress_and_log(what: str) -> Iterator[None]:
    """A block of clean-up whose error is logged, not raised.

    ``what`` is as for ``log_failure``.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the earlier outcome counts
        log_failure(what)(error)


def _heard(ended: asyncio.Future[Any]) -> None:
    """Retrieve an unawaited error, so that asyncio does not warn about it."""
    if not ended.cancelled():
        ended.exception()


@contextmanager
def unwrap_exception_group() -> Iterator[None]:
    """Raise a task group's first ``AarError``, or its only error, instead of the group.

    Tasks that run side by side usually fail for the same reason.
    """
    try:
        yield
    except ExceptionGroup as group:
        error = _first_error(group)
        raise error from error.__cause__  # its cause shows if it is temporary, such as a full disk


def _first_error(group: ExceptionGroup[Exception]) -> Exception:
    ours = group.subgroup(AarError)
    first: Exception = ours or group
    while isinstance(first, ExceptionGroup) and (ours is not None or len(first.exceptions) == 1):
        first = first.exceptions[0]
    return first
