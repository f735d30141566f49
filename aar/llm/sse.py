"""Reads server-sent events from the pieces of a body (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

from pydantic_core import from_json

SseEvent: TypeAlias = dict[str, Any]
LONGEST_EVENT = 16 * 1024**2
"""Bytes of one event; the longest of a service has a few kilobytes."""
_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")


async def read_event_batches(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[SseEvent]]:
    """Yield the data of a stream's events, in batches as they arrive.

    Args:
        pieces: the body, cut anywhere.

    Raises:
        ValueError: the data of an event is not a JSON object, or an event does not end; earlier events were yielded.
    """
    unended = _EventBuffer()
    async for piece in pieces:
        batch: list[SseEvent] = []
        try:
            batch.extend(event for block in unended.ended_by(piece) if (event := _event(block)) is not None)
        except ValueError:
            if batch:
                yield batch
            raise
        if batch:
            yield batch
    if (event := _event(unended.rest)) is not None:
        yield [event]


def parse_lenient_json(text: bytes) -> Any:
    """Parse a JSON value.

    Accept half characters and non-JSON numbers, for the reader to judge.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        return from_json(text)
    except ValueError:
        try:
            return json.loads(text)  # accepts half characters, left by a split pair
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error


class _EventBuffer:
    """Buffers an event until its end arrives.

    Searches each byte once, however many pieces there are.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._tail = b""

    @property
    def rest(self) -> bytes:
        """Return all bytes since the last event's end."""
        return b"".join(self._parts)

    def ended_by(self, piece: bytes) -> list[bytes]:
        """Return the events that end with this piece."""
        if self._parts and not _END.search(self._tail + piece):
            whole, rest = [], piece
        else:
            *whole, rest = _END.split(b"".join([*self._parts, piece]))
            self._parts, self._size, self._tail = [], 0, b""
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
            self._tail = (self._tail + rest)[-3:]
        if self._size > LONGEST_EVENT:
            raise ValueError(f"an event of over {LONGEST_EVENT} bytes")
        return whole


def _event(block: bytes) -> SseEvent | None:
    data = [line[5:] for line in block.splitlines() if line.startswith(b"data:")]
    if not any(data):
        return None
    event = parse_lenient_json(b"\n".join(data))
    if not isinstance(event, dict):
        raise ValueError("the data of an event is not a JSON object")
    return event
