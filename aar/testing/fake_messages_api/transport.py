"""Sends a response over ASGI, whole or as server-sent events, with faults; serves an application on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, TypeAlias

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from aar.testing.fake_messages_api.faults import NO_FAULT, Drop, Fault, Misreport, Slow, Stall, StreamError
from aar.testing.fake_messages_api.pipeline import ResponsePart
from aar.testing.fake_messages_api.replies import compact_json
from aar.testing.fake_messages_api.request import ApiError, Json

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ABORT = "aar.abort"
"""ASGI extension of ``local_server``: a function that breaks the connection."""


class ClientGone(Exception):
    """The client disconnected, or the connection was broken on purpose."""


class ResponseChannel:
    """The channel of one exchange back to the client."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._abort: Callable[[], None] | None = (scope.get("extensions") or {}).get(ABORT)
        self._receive = receive
        self._send = send
        self.started = False

    async def body(self, most: int) -> bytes:
        """Read the request's body. Raises ApiError (413) above ``most`` bytes."""
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece = message.get("body", b"")
            size += len(piece)
            # A body that is too long is still read to its end, or the client would see a broken pipe and no response.
            if size <= most:
                pieces.append(piece)
            if not message.get("more_body"):
                break
        if size > most:
            raise ApiError(413)
        return b"".join(pieces)

    async def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole response."""
        await self.start(status, {**headers, "content-length": str(len(body))})
        await self._send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send a response's head."""
        self.started = True
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def piece(self, body: bytes, *, more: bool = True) -> None:
        """Send a piece of a response's body."""
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def drop(self) -> None:
        """Break the connection."""
        if self._abort is None:
            # Another server than ``local_server``: an exception is the only way to an abrupt end.
            raise ConnectionResetError("the fake server dropped the connection")
        self._abort()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise ClientGone

    async def wait(self, seconds: float) -> None:
        """Wait. Raises ClientGone when the client leaves meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                while (await self._receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return
        raise ClientGone


def json_bytes(value: Any) -> bytes:
    """Return a value as the JSON of a response."""
    return compact_json(value).encode("utf-8", "replace")


async def deliver_message(
    channel: ResponseChannel, message: Json, headers: Mapping[str, str], fault: Fault | None
) -> None:
    """Send a response that is not streamed."""
    if isinstance(fault, Misreport):
        usage = message["usage"] if fault.end == NO_FAULT else fault.end
        message = {**message, "usage": usage, "model": fault.model or message["model"]}
    body = json_bytes(message)
    match fault:
        case Slow(seconds):
            await channel.wait(seconds)
        case Drop(None) | Stall():
            await _silence(channel, fault)
        case Drop():
            await channel.start(200, {**headers, "content-type": "application/json", "content-length": str(len(body))})
            await channel.piece(body[: len(body) // 2])
            await channel.drop()
        case StreamError():
            raise ApiError(529 if fault.kind == "overloaded_error" else 500, fault.message, kind=fault.kind)
    await channel.whole(200, body, {**headers, "content-type": "application/json"})


async def deliver_stream(
    channel: ResponseChannel, events: Iterable[Json], headers: Mapping[str, str], request_id: str, fault: Fault | None
) -> None:
    """Send a response as a stream of events."""
    if isinstance(fault, Drop) and fault.after is None:
        await _silence(channel, fault)
    await channel.start(
        200, {**headers, "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    )
    if fault is None:
        await channel.piece(b"".join(map(encode_event, events)), more=False)
        return
    for sent, event in enumerate(events):
        if isinstance(fault, Misreport):
            event = _misreported(event, fault)
        await _before(channel, sent, request_id, fault)
        await channel.piece(encode_event(event))
        if isinstance(fault, StreamError) and sent + 1 == fault.after:
            break
    await channel.piece(_error(fault, request_id) if isinstance(fault, StreamError) else b"", more=False)


async def _before(channel: ResponseChannel, sent: int, request_id: str, fault: Fault) -> None:
    """Inject the fault due before the event after ``sent`` others."""
    match fault:
        case Slow(seconds):
            await channel.wait(seconds)
        case Drop(after) | Stall(after) if sent == after:
            await _silence(channel, fault)


async def _silence(channel: ResponseChannel, fault: Fault) -> None:
    if isinstance(fault, Stall):
        await channel.wait(fault.seconds)
    await channel.drop()


def _misreported(event: Json, fault: Misreport) -> Json:
    if event["type"] == "message_start":
        message = {**event["message"], "model": fault.model or event["message"]["model"]}
        return {**event, "message": message if fault.start == NO_FAULT else {**message, "usage": fault.start}}
    told = event["type"] == "message_delta" and fault.end != NO_FAULT
    return {**event, "usage": fault.end} if told else event


def _error(fault: StreamError, request_id: str) -> bytes:
    return encode_event(ApiError(529, fault.message, kind=fault.kind).body(request_id))


TEXT_PIECE = 80
"""Characters of a text or thinking delta."""
JSON_PIECE = 400
"""Characters of a piece of a tool call's input."""
_CUMULATIVE = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
    "server_tool_use",
    "iterations",
)


def message_events(message: Json, parts: Sequence[ResponsePart]) -> Iterator[Json]:
    """Yield the events of a message.

    Args:
        message: as returned by ``build_message``.
        parts: its content, with the JSON of tool inputs as sent.
    """
    usage = message["usage"]
    begun = {key: value for key, value in usage.items() if key != "iterations"}
    opening = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    opening.pop("context_management", None)
    yield {
        "type": "message_start",
        "message": {**opening, "usage": {**begun, "output_tokens": min(1, usage["output_tokens"])}},
    }
    yield {"type": "ping"}
    for index, part in enumerate(parts):
        start, deltas = _pieces(part)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ending: Json = {
        "type": "message_delta",
        "delta": {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details")},
        "usage": {key: usage[key] for key in _CUMULATIVE if key in usage},
    }
    if "context_management" in message:
        ending["context_management"] = message["context_management"]
    yield ending
    yield {"type": "message_stop"}


def _pieces(part: ResponsePart) -> tuple[Json, list[Json]]:
    """Return the start of a block, and its deltas."""
    block = part.block
    match block["type"]:
        case "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in _split(block["text"], TEXT_PIECE)]
            deltas += [{"type": "citations_delta", "citation": c} for c in block.get("citations") or ()]
            return {"type": "text", "text": ""}, deltas
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _split(block["thinking"], TEXT_PIECE)]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return {"type": "thinking", "thinking": "", "signature": ""}, deltas
        case "tool_use" | "server_tool_use":
            text = part.raw if part.raw is not None else compact_json(block["input"])
            text = "" if text == "{}" else text
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *_split(text, JSON_PIECE)]]
            return {**block, "input": {}}, deltas
        case "compaction":
            delta = {key: block.get(key) for key in ("content", "encrypted_content")}
            start = {key: value for key, value in block.items() if key != "encrypted_content"}
            return {**start, "content": None}, [{"type": "compaction_delta", **delta}]
        case _:
            # Redacted thinking and results of server tools come whole.
            return block, []


def _split(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def encode_event(event: dict[str, Any]) -> bytes:
    """Return an event as bytes of the stream."""
    return f"event: {event['type']}\ndata: {compact_json(event)}\n\n".encode("utf-8", "replace")


class _Breakable(H11Protocol):
    """An HTTP protocol whose application can break the connection, as a network would."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        inner: Any = self.app

        async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
            extensions = {**(scope.get("extensions") or {}), ABORT: transport.abort}
            await inner({**scope, "extensions": extensions}, receive, send)

        self.app = with_abort


class LocalServer(uvicorn.Server):
    """A server that leaves signals to its program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield


def server_config(app: Any) -> uvicorn.Config:
    """Return the server's configuration for an application."""
    return uvicorn.Config(
        app,
        http=_Breakable,
        lifespan="off",
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=60,
    )


def listen_on_loopback(port: int = 0) -> socket.socket:
    """Return a listening socket on loopback. Raises OSError when the port is taken."""
    # naming TCP has asyncio send at once: otherwise answers of several writes wait 40 ms for an acknowledgement
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(1024)
    except OSError:
        listening.close()
        raise
    return listening


def base_url_of(listening: socket.socket) -> str:
    """Return the base URL of a listening socket."""
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextlib.asynccontextmanager
async def serve_app(app: Any) -> AsyncIterator[str]:
    """Serve an application within this event loop. Yields its base URL."""
    server = LocalServer(server_config(app))
    with listen_on_loopback() as listening:
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield base_url_of(listening)
        finally:
            server.should_exit = True
            await running


@contextlib.contextmanager
def serve_app_in_thread(app: Any, port: int = 0) -> Iterator[str]:
    """Serve an application in a thread with its own event loop.

    For programs that have no event loop.

    Args:
        port: 0 for a free one; the former port for a restarted server.
    """
    server = LocalServer(server_config(app))
    with listen_on_loopback(port) as listening:
        thread = threading.Thread(target=_run, args=(server, listening), name="messages double", daemon=True)
        thread.start()
        try:
            yield base_url_of(listening)
        finally:
            server.should_exit = True
            thread.join()


def _run(server: LocalServer, listening: socket.socket) -> None:
    run: Callable[[Any], None] = asyncio.run
    run(server.serve(sockets=[listening]))
