"""A scripted Messages API on loopback; what it refuses is what the real service would refuse."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


def say(text: str) -> Json:
    return {"type": "text", "text": text}


def call(number: int, tool: str, **given: Any) -> Json:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": tool, "input": given}


@dataclass
class Turn:
    """A reply. ``stop_reason`` follows from the content unless given."""

    content: Sequence[Json]
    stop_reason: str = ""
    usage: Json | None = None
    breaks_after: int | None = None
    """So many events are sent and then ``breaking`` happens."""
    breaking: str = "drop"
    """drop: the connection closes; error: an overloaded error event; silence: nothing more comes."""
    told: tuple[Any, Any] | None = None
    """Usage objects of the start and the end, as they are; None in a place leaves it out."""
    named: str | None = None
    """The model that the reply says it is of, where that is another than was asked."""
    raw_input: str | None = None
    """Sent as the JSON of the last tool call instead of its input."""

    def events(self, model: str, prompt_tokens: int) -> list[Json]:
        stop = self.stop_reason or ("tool_use" if any(b["type"] == "tool_use" for b in self.content) else "end_turn")
        usage = self.usage or {"input_tokens": prompt_tokens, "output_tokens": 50}
        start = {"id": "msg_1", "type": "message", "role": "assistant", "model": self.named or model, "content": []}
        empty = {"stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
        events: list[Json] = [{"type": "message_start", "message": {**start, **empty}}, {"type": "ping"}]
        for index, block in enumerate(self.content):
            last = index == len(self.content) - 1
            events += self._block(index, block, self.raw_input if last else None)
        delta = {"stop_reason": stop, "stop_sequence": None}
        events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage["output_tokens"]}})
        if self.told is not None:
            events[0]["message"]["usage"], events[-1]["usage"] = self.told
        return [*events, {"type": "message_stop"}]

    @staticmethod
    def _block(index: int, block: Json, raw_input: str | None) -> list[Json]:
        def delta(kind: str, key: str, text: str) -> list[Json]:
            halves = [text[: len(text) // 2], text[len(text) // 2 :]]
            return [{"type": "content_block_delta", "index": index, "delta": {"type": kind, key: h}} for h in halves]

        if block["type"] == "tool_use":
            opened, middle = (
                {**block, "input": {}},
                delta("input_json_delta", "partial_json", raw_input or json.dumps(block["input"])),
            )
        elif block["type"] == "thinking":
            opened = {"type": "thinking", "thinking": "", "signature": ""}
            signature = {"type": "signature_delta", "signature": block["signature"]}
            middle = [*delta("thinking_delta", "thinking", block["thinking"])]
            middle.append({"type": "content_block_delta", "index": index, "delta": signature})
        else:
            opened, middle = {"type": "text", "text": ""}, delta("text_delta", "text", block["text"])
        return [
            {"type": "content_block_start", "index": index, "content_block": opened},
            *middle,
            {"type": "content_block_stop", "index": index},
        ]


@dataclass
class Refusal:
    """An HTTP error."""

    status: int
    message: str = "no"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Raw:
    """Status 200 and a body as it is; None closes the connection instead of any answer."""

    body: bytes | None
    kind: str = "text/event-stream"
    cut: bool = False
    """The connection closes within the last chunk."""


Script = Callable[[Json], "Turn | Refusal | Raw"]


class MessagesServer:
    """Answers POST /v1/messages from a script and refuses conversations that the real service would refuse."""

    def __init__(self) -> None:
        self.script: Script = lambda _: Turn([call(1, "finish", summary="done")])
        self.requests: list[Json] = []
        self.complaints: list[str] = []
        """What the real service would have refused; a researcher gets over it, a test must not."""
        self.headers: list[dict[str, str]] = []
        self.before_reply: Callable[[], Awaitable[None]] | None = None
        self.url = ""
        self._connections: set[asyncio.Task[None]] = set()

    def play(self, *steps: Turn | Refusal | Raw) -> None:
        """Answer by the number of requests made."""
        left = list(steps)
        self.script = lambda _: left.pop(0)

    def by_turn(self, *turns: Turn) -> None:
        """Answer by the number of assistant messages in the request, as a model without memory would."""
        self.script = lambda request: turns[sum(m["role"] == "assistant" for m in request["messages"])]

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            server.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        # A cancelled connection ends quietly: asyncio's stream callback cannot digest one.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while await self._one(reader, writer):
                pass
        writer.close()
        self._connections.discard(task)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        request: Json = json.loads(await reader.readexactly(int(headers["content-length"])))
        self.requests.append(request)
        self.headers.append(headers)
        complaint = complaint_about(request)
        self.complaints += [complaint] * bool(complaint)
        step = Refusal(400, complaint) if complaint else self.script(request)
        if self.before_reply is not None:
            await self.before_reply()
        if isinstance(step, Raw):
            return await _raw(writer, step)
        if isinstance(step, Refusal):
            body = json.dumps({"type": "error", "error": {"type": "api_error", "message": step.message}}).encode()
            headers = {"content-type": "application/json", **step.headers}
            extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            writer.write(f"HTTP/1.1 {step.status} X\r\n{extra}content-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            return True
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        events = step.events(request["model"], byte_tokens(request))
        for event in events[: step.breaks_after]:
            await _chunk(writer, event["type"], event)
        if step.breaks_after is not None:
            if step.breaking == "error":
                await _chunk(
                    writer, "error", {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
                )
            elif step.breaking == "silence":
                await asyncio.sleep(60)
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


async def _raw(writer: asyncio.StreamWriter, answer: Raw) -> bool:
    if answer.body is None:
        return False
    size = len(answer.body)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {answer.kind}\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = f"{size + 9 * answer.cut:x}\r\n".encode() + answer.body
    writer.write(head.encode() + (chunk if answer.cut else (chunk + b"\r\n") * bool(size) + b"0\r\n\r\n"))
    await writer.drain()
    return not answer.cut


async def _chunk(writer: asyncio.StreamWriter, name: str, data: Json) -> None:
    text = f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
    writer.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
    await writer.drain()


def byte_tokens(request: Json) -> int:
    """The worst that a byte-level tokenizer could make of the request: each byte of each string a token."""

    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for key, inner in value.items():
                yield key
                yield from strings(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from strings(inner)

    parts = [request["system"], request["tools"], request["messages"]]
    return sum(len(text.encode()) for part in parts for text in strings(part))


def complaint_about(request: Json) -> str:
    """What the real service would refuse about a request's messages."""
    messages = request["messages"]
    if not messages or messages[0]["role"] != "user":
        return "messages must start with user"
    owed: set[str] = set()
    for index, message in enumerate(messages):
        if index and message["role"] == messages[index - 1]["role"]:
            return f"messages.{index}: roles must alternate"
        if not message["content"]:
            return f"messages.{index}: content must not be empty"
        results = [block["tool_use_id"] for block in message["content"] if block["type"] == "tool_result"]
        leading = [block["type"] == "tool_result" for block in message["content"]]
        if message["role"] == "user":
            if set(results) != owed or len(results) != len(owed) or leading != sorted(leading, reverse=True):
                return f"messages.{index}: tool_use ids {owed} need tool_result blocks immediately after, first"
            owed = set()
        else:
            owed = {block["id"] for block in message["content"] if block["type"] == "tool_use"}
        if any(block["type"] == "text" and not block["text"].strip() for block in message["content"]):
            return f"messages.{index}: text content blocks must be non-empty"
    marks = json.dumps([request["system"], request["tools"], messages]).count('"cache_control"')
    return "too many cache_control blocks" if marks > 4 else ""
