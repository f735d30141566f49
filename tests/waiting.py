"""Waits for conditions, within a bound, in the place of fixed pauses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE = 60.0
"""Seconds after which a condition that does not hold is a failure."""


async def until(holds: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Let the event loop run until a condition holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.005)


def block_until(holds: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for what other threads or processes do."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
