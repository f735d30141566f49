"""Reading a stream of server-sent events for little work each.

A reply comes in hundreds of tiny events, and to wait for each costs more than to read it. So after a read that had to
wait, the next one waits a little longer, and takes whatever came together: at most a fiftieth of the stream's age. A
stream whose pieces are further apart than that is read as they come.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

from pydantic_core import from_json

Event: TypeAlias = dict[str, Any]

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_WAITED_SECONDS = 0.0005
_SHARE = 0.02
_SHORTEST_BREATH, _LONGEST_BREATH = 0.002, 0.25


async def events_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[Event]]:
    """The data of a stream's events, in batches as they come.

    Args:
        pieces: the body, cut anywhere.

    Raises:
        ValueError: the data of an event is not a JSON object.
    """
    rest = b""
    began = asked = time.monotonic()
    async for piece in pieces:
        came = time.monotonic()
        *whole, rest = _END.split(rest + piece) if rest else _END.split(piece)
        batch = [event for block in whole if (event := _event(block)) is not None]
        if batch:
            yield batch
        breath = min(max(_SHARE * (came - began), _SHORTEST_BREATH), _LONGEST_BREATH)
        if _WAITED_SECONDS < came - asked < breath:
            await asyncio.sleep(breath)
        asked = time.monotonic()
    if (event := _event(rest)) is not None:
        yield [event]


def _event(block: bytes) -> Event | None:
    data = [line[5:] for line in block.splitlines() if line.startswith(b"data:")]
    if not any(data):
        return None
    event = from_json(b"\n".join(data), allow_inf_nan=False)
    if not isinstance(event, dict):
        raise ValueError("the data of an event is not a JSON object")
    return event
