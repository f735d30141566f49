"""Reads a response with status 200: stream, complete message, error, or proxy's page.

Billing depends on the first content: without ``message_start`` or a message's body nothing is billed, whatever the
response's form.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio

from aar.llm.api_errors import StreamInterrupted, error_in_stream, unexpected_response
from aar.llm.response.message_accumulator import MessageAccumulator
from aar.llm.response.sse import parse_lenient_json, read_event_batches

ProgressCallback = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Receives each content block when it begins."""

_SHOWN_BYTES = 2000
_LONGEST_MESSAGE_BYTES = 32 * 1024**2
_BEGINS_STREAM = re.compile(rb"event:|data:")
_OF_A_MESSAGE = ("choices", "usage")
"""Fields of a generated response, in any protocol."""


class ResponseReader:
    """Feeds one response to a message accumulator.

    Args:
        assembly: of the reply.
        timeout: longest silence, in seconds; a stream without new content counts as silent.
        shown: formats a text as one bounded line for people, without the key.
        progress: receives the reply's blocks as they begin.
    """

    def __init__(
        self,
        assembly: MessageAccumulator,
        timeout: float,
        shown: Callable[[str], str],
        progress: ProgressCallback | None,
    ) -> None:
        self._assembly = assembly
        self._timeout = timeout
        self._shown = shown
        self._progress = progress
        self._often = min(1.0, timeout / 10)

    async def read_response(self, stream: Any, *, as_bytes: bool) -> None:
        """Read the response.

        Args:
            stream: the SDK's stream.
            as_bytes: read the body here; the stream's own iterator builds an object for each event.

        Raises:
            Refused: it is no reply, and nothing is billed.
            StreamInterrupted: it may be billed, and is not whole.
            ValueError: the same, for invalid content.
        """
        with anyio.move_on_after(self._timeout) as watch:
            if as_bytes:
                await self._bytes(stream.response, watch)
            else:
                await self._events(_one_by_one(stream), watch, {})
                if self._assembly.message is None:
                    raise unexpected_response("", "", {})
        if watch.cancelled_caught and not self._assembly.complete:
            raise self._broken(f"no progress on the stream in {self._timeout:g} s")

    async def _bytes(self, response: Any, watch: anyio.CancelScope) -> None:
        headers, body = response.headers, _Body(response.aiter_bytes())
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        begins = await body.begin()
        # The content decides: a proxy may give a stream another type.
        if begins == b"{" or not (kind in ("", "text/event-stream") or _BEGINS_STREAM.match(body.head.lstrip())):
            await self._whole(body, kind, headers, json_like=begins == b"{")
            return
        try:
            await self._events(read_event_batches(body.pieces()), watch, headers)
        except ValueError:
            if self._assembly.message is not None or b"message_start" in body.head:
                raise
            raise unexpected_response(kind, self._shown(body.head_text), headers) from None
        if self._assembly.message is None:
            raise unexpected_response(kind, self._shown(body.head_text), headers)

    async def _events(
        self,
        batches: AsyncIterator[Sequence[Mapping[str, Any]]],
        watch: anyio.CancelScope,
        headers: Mapping[str, str],
    ) -> None:
        assembly, heard, size = self._assembly, time.monotonic(), 0
        async for batch in batches:
            for event in batch:
                kind = event.get("type")
                if assembly.complete:
                    return
                if kind == "error" or (assembly.message is None and kind is None and "error" in event):
                    # An overload comes as an event of a response with status 200.
                    said = self._shown(json.dumps(event.get("error")))
                    if assembly.message is None:
                        raise error_in_stream(event.get("error"), said, headers)
                    raise self._broken(f"the service failed in mid-stream: {said}")
                if kind != "ping":
                    assembly.accept_event(event)
                if self._progress is not None and kind == "content_block_start":
                    await self._progress(event["content_block"])
            # Move the deadline only sometimes: that costs as much as reading an event.
            if time.monotonic() - heard > self._often and assembly.size > size:
                heard, size = time.monotonic(), assembly.size
                watch.deadline = anyio.current_time() + self._timeout

    async def _whole(self, body: _Body, kind: str, headers: Mapping[str, str], *, json_like: bool) -> None:
        """Read a response that is not a stream."""
        text = await body.read(_LONGEST_MESSAGE_BYTES if json_like else _SHOWN_BYTES)
        shown = self._shown(body.head_text)
        if not json_like:
            raise unexpected_response(kind, shown, headers)
        if len(text) > _LONGEST_MESSAGE_BYTES:
            raise ValueError(f"a message of over {_LONGEST_MESSAGE_BYTES} bytes")
        try:
            value = parse_lenient_json(text)
        except ValueError:
            if any(f'"{name}"'.encode() in text for name in ("content", *_OF_A_MESSAGE)):
                raise
            raise unexpected_response(kind, shown, headers) from None
        if "content" in value or value.get("type") == "message":
            self._assembly.accept_message(value)
        elif any(name in value for name in _OF_A_MESSAGE):
            raise ValueError(f"it speaks another protocol than the Messages API: {shown}")
        elif "error" in value:
            raise error_in_stream(value["error"], shown, headers)
        else:
            raise unexpected_response(kind, shown, headers)

    def _broken(self, said: str) -> StreamInterrupted:
        return StreamInterrupted(self._shown(said), self._assembly.partial_usage, self._assembly.model)


class _Body:
    """A response's body; its beginning is stored."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = aiter(pieces)
        self._first = b""
        self.head = b""

    @property
    def head_text(self) -> str:
        """Return its beginning."""
        return self.head.decode("utf-8", "replace")

    async def begin(self) -> bytes:
        """Read up to the first byte that is no space.

        Return it, or nothing if there is none.
        """
        while not (begun := self._first.lstrip()):
            piece = await anext(self._pieces, b"")
            if not piece:
                return b""
            self._first = (self._first[-1:] + piece) if not piece.strip() else self._first + piece
        self.head = self._first[:_SHOWN_BYTES]
        return begun[:1]

    async def pieces(self) -> AsyncIterator[bytes]:
        """Return all of it."""
        yield self._first
        async for piece in self._pieces:
            if len(self.head) < _SHOWN_BYTES:
                self.head = (self.head + piece)[:_SHOWN_BYTES]
            yield piece

    async def read(self, most: int) -> bytes:
        """Read all of it, or just more than ``most`` bytes."""
        read = bytearray()
        async for piece in self.pieces():
            read += piece
            if len(read) > most:
                break
        return bytes(read)


async def _one_by_one(stream: Any) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    async for event in stream:
        yield (event,)
