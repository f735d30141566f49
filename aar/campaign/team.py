"""All researchers' lives side by side, and the grace they get when the campaign is asked to end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from aar.campaign.ending import StopSignal
from aar.researcher import Outcome

GRACE_SECONDS = 20.0
"""How long a researcher may take to end its turn once asked; then what runs in its sandbox is left to its fate."""


async def run_team(lives: Sequence[Coroutine[Any, Any, Outcome]], stop: StopSignal) -> list[Outcome]:
    """Run all to their end, or until ``stop`` and a grace.

    Returns:
        The outcomes of those that came to an end by themselves.
    """
    tasks = [asyncio.create_task(life) for life in lives]
    if not tasks:
        return []
    asked = asyncio.create_task(stop.event.wait())
    together = asyncio.gather(*tasks)
    try:
        ends: list[asyncio.Future[Any]] = [together, asked]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not together.done():
            await asyncio.wait(tasks, timeout=GRACE_SECONDS)
    finally:
        asked.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, asked, return_exceptions=True)
        if together.done() and not together.cancelled():
            together.exception()
    return [task.result() for task in tasks if not task.cancelled()]
