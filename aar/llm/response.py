"""Reads a response with status 200: stream, complete message, error, or proxy's page.

Billing depends on the first content: without ``message_start`` or a message's body nothing is billed, whatever the
response's form.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from aar.llm.api_errors import StreamInterrupted, error_in_stream, unexpected_response
from aar.llm.content import parse_tool_input, resendable_block
from aar.llm.sse import parse_lenient_json, read_event_batches
from aar.llm.usage import ReportedUsage
from aar.text import make_storable

ProgressCallback = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Receives each content block when it begins."""

_SHOWN_BYTES = 2000
_LONGEST_MESSAGE_BYTES = 32 * 1024**2
_BEGINS_STREAM = re.compile(rb"event:|data:")
_OF_A_MESSAGE = ("choices", "usage")
"""Fields of a generated response, in any protocol."""
_APPENDED = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
_LONGEST_REPLY = 32 * 1024**2
"""Characters of a reply; a model's longest is far below."""
_LONGEST_NAME = 200
_MOST_CLEARED = 10**6


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
        self._check_seconds = min(1.0, timeout / 10)

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
        assembly, progressed_at, size = self._assembly, time.monotonic(), 0
        async for batch in batches:
            for event in batch:
                kind = event.get("type")
                if assembly.complete:
                    return
                if kind == "error" or (assembly.message is None and kind is None and "error" in event):
                    # An overload comes as an event of a response with status 200.
                    message_text = self._shown(json.dumps(event.get("error")))
                    if assembly.message is None:
                        raise error_in_stream(event.get("error"), message_text, headers)
                    raise self._broken(f"the service failed in mid-stream: {message_text}")
                if kind != "ping":
                    assembly.accept_event(event)
                if self._progress is not None and kind == "content_block_start":
                    await self._progress(event["content_block"])
            # Move the deadline only sometimes: that costs as much as reading an event.
            if time.monotonic() - progressed_at > self._check_seconds and assembly.size > size:
                progressed_at, size = time.monotonic(), assembly.size
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

    def _broken(self, message_text: str) -> StreamInterrupted:
        return StreamInterrupted(self._shown(message_text), self._assembly.partial_usage, self._assembly.model)


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


@dataclass(frozen=True, slots=True)
class CompleteReply:
    """A complete reply, as the service sent it.

    Args:
        model: that answered; None if the service does not report it.
        content: its blocks.
        reported: usage as counted by the service.
        cleared_tool_uses: how many of the oldest tool results the service left out of the prompt.
    """

    model: str | None
    content: list[dict[str, Any]]
    stop_reason: str
    reported: ReportedUsage
    cleared_tool_uses: int = 0

    @property
    def usage(self) -> Mapping[str, Any]:
        """Return the usage with the service's field names."""
        return self.reported.figures


class MessageAccumulator:
    """Assembles a streamed reply from its events, block by block, exactly as the service sent it.

    The SDK's own accumulator parses the whole tool input again at every fragment, which is quadratic in its length, and
    builds a model per event. Here fragments are joined once. Unknown fields and block types stay untouched, so that the
    next request sends back exactly what was received (signed thinking above all).

    Args:
        may_summarise: the service was allowed to summarise the conversation before it replies.
    """

    def __init__(self, *, may_summarise: bool = False) -> None:
        self.message: dict[str, Any] | None = None
        self.reported = ReportedUsage()
        self._may_summarise = may_summarise
        self.complete = False
        self._fragments: dict[int, list[str]] = {}
        self.size = 0
        """Grows with all new content, and not with events without content."""

    @property
    def model(self) -> str | None:
        """Return the model that the reply names."""
        named = (self.message or {}).get("model")
        return make_storable(named[:_LONGEST_NAME]) if isinstance(named, str) and named else None

    @property
    def partial_usage(self) -> ReportedUsage:
        """Return the known usage if the reply breaks off now.

        It is empty if a summary may be missing, because its tokens are reported only at the end of a reply.
        """
        content = (self.message or {}).get("content")
        summarised = self._may_summarise and (not content or content[0].get("type") == "compaction")
        return ReportedUsage() if summarised else self.reported

    def reply(self) -> CompleteReply:
        """Return the complete reply. Raises ValueError if a required part is missing."""
        message = self.message
        if not self.complete or message is None:
            raise ValueError("the reply has no end")
        try:
            return CompleteReply(
                model=self.model,
                content=[resendable_block(block) for block in message["content"]],
                stop_reason=make_storable(str(message.get("stop_reason") or "end_turn")[:_LONGEST_NAME]),
                reported=self.reported,
                cleared_tool_uses=_cleared(message.get("context_management")),
            )
        except (LookupError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"the reply is invalid: {error!r}") from error

    def accept_message(self, message: Mapping[str, Any]) -> None:
        """Accept a message in one piece. Raises ValueError if it is invalid."""
        content = message.get("content")
        if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
            raise ValueError("the message has no content blocks")
        self.message = {**message, "content": content}
        self.reported.take(self.message.pop("usage", None))
        self.complete = True

    def accept_event(self, event: Mapping[str, Any]) -> None:
        """Accept one event. Raises ValueError if it is invalid or out of order."""
        try:
            self._feed(event)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"an event of the stream is invalid: {error!r}") from error

    def _feed(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind == "message_start":
            if self.message is not None:
                raise ValueError("stream began twice")
            self.message = dict(event["message"], content=[])
            self.reported.take(self.message.pop("usage", None), last=False)
            self.size += 1
            return
        if self.message is None:
            raise ValueError(f"stream began with {kind!r}")
        if kind == "content_block_start":
            self._open(event["index"], event["content_block"])
        elif kind == "content_block_delta":
            self._extend(event["index"], event["delta"])
        elif kind == "content_block_stop":
            self._close(event["index"])
        elif kind == "message_delta":
            self.reported.take(event.get("usage"))
            report = {key: value for key, value in event["delta"].items() if value is not None}
            self.message.update(
                {key: value for key, value in report.items() if key not in ("content", "usage", "model")}
            )
            if event.get("context_management") is not None:
                self.message["context_management"] = event["context_management"]
        elif kind == "message_stop":
            for index in list(self._fragments):
                self._close(index)
            self.complete = True

    def _open(self, index: int, block: dict[str, Any]) -> None:
        content = self._content
        if index != len(content):
            raise ValueError(f"content block {index} out of order")
        content.append(dict(block))
        self.size += 1
        self._fragments[index] = []

    def _extend(self, index: int, delta: dict[str, Any]) -> None:
        block = self._content[index]
        kind = delta["type"]
        fragment = _APPENDED.get(kind)
        if fragment is not None:
            text = delta[fragment] if delta[fragment] is not None else ""
            self.size += len(text)
            if self.size > _LONGEST_REPLY:
                raise ValueError(f"a reply of over {_LONGEST_REPLY} characters")
            self._fragments[index].append(text)
            return
        if kind == "signature_delta":
            block["signature"] = delta["signature"]
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        elif kind == "compaction_delta":
            block.update({key: value for key, value in delta.items() if key != "type"})
        else:
            return
        self.size += 1

    def _close(self, index: int) -> None:
        block = self._content[index]
        joined = "".join(self._fragments.pop(index, []))
        if not joined:
            return
        if block["type"] in ("text", "thinking"):
            block[block["type"]] = (block.get(block["type"]) or "") + joined
        elif "input" in block:
            block["input"] = parse_tool_input(joined)

    @property
    def _content(self) -> list[dict[str, Any]]:
        assert self.message is not None
        content: list[dict[str, Any]] = self.message["content"]
        return content


def _cleared(report: object) -> int:
    """Return how many tool results the service reports as left out.

    It is 0 for an invalid report.

    A paid reply is never rejected because of it.
    """
    edits = report.get("applied_edits") if isinstance(report, Mapping) else None
    counts = [edit.get("cleared_tool_uses") for edit in edits or () if isinstance(edit, Mapping)]
    return sum(count for count in counts if isinstance(count, int) and 0 < count <= _MOST_CLEARED)
