"""Blocking steps whose effects must be undone: waited for to their end, even when their result is no longer wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import CancelScope

T = TypeVar("T")


async def run_to_completion(step: Callable[[], T], undo: Callable[[], object] | None = None) -> T:
    """Run a step in a thread and return what it returns.

    Cancelled, it is cancelled only after the thread has ended. A cancelled ``asyncio.to_thread`` leaves its thread at
    work, so that a mount, say, would appear after whoever cleans up has looked for it.

    Args:
        step: what to run; whatever it raises is raised.
        undo: takes back a step that came to its end although it was cancelled.
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
