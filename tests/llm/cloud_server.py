"""Bedrock's and Vertex's ways of serving a Claude model, on loopback: their addresses, framing and sign-in."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

from ..messages_server import Turn


def event_stream_frame(payload: bytes) -> bytes:
    """A ``chunk`` event in AWS's event stream encoding: lengths, their CRC, headers, payload, CRC of all."""
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for name, value in (
            (":event-type", "chunk"),
            (":content-type", "application/json"),
            (":message-type", "event"),
        )
    )
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    prelude += struct.pack("!I", binascii.crc32(prelude))
    frame = prelude + headers + payload
    return frame + struct.pack("!I", binascii.crc32(frame))


class CloudServer:
    """Answers each call with the same turn and remembers what was asked."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        path = first.split(" ")[1]
        if path == "/token":
            answer, kind = json.dumps({"access_token": "ya29.test", "expires_in": 3600, "token_type": "Bearer"}), "json"
            await _answer(writer, answer.encode(), f"application/{kind}")
            return
        self.asked.append((path, headers, json.loads(content)))
        events = self.turn.events("claude", 12)
        if path.endswith("invoke-with-response-stream"):
            frames = [
                event_stream_frame(json.dumps({"bytes": base64.b64encode(json.dumps(e).encode()).decode()}).encode())
                for e in events
            ]
            await _answer(writer, b"".join(frames), "application/vnd.amazon.eventstream")
        else:
            text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
            await _answer(writer, text.encode(), "text/event-stream")


async def _answer(writer: asyncio.StreamWriter, body: bytes, kind: str) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


@contextlib.asynccontextmanager
async def serving(turn: Turn) -> AsyncIterator[CloudServer]:
    made = CloudServer(turn)
    server = await asyncio.start_server(made, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
