"""Blocking steps that run to completion in a thread, even when cancelled.

Their effects must be undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from anyio import CancelScope

T = TypeVar("T")


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
