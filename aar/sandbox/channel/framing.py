"""Frames on the host's side, over asyncio streams; nothing from inside is trusted."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aar.errors import AarError
from aar.sandbox.server.framing import LENGTHS, MAX_PAYLOAD

MAX_HEADER = 64 << 20
"""Largest header from inside: it may list every file of a directory; a larger one is an attack."""


class BadFrame(AarError):
    """Data from the channel that is not a frame of the protocol."""


async def read_frame(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
    """Read the next frame. Raises BadFrame, asyncio.IncompleteReadError (the other side closed)."""
    header_size, payload_size = LENGTHS.unpack(await reader.readexactly(LENGTHS.size))
    if header_size > MAX_HEADER or payload_size > MAX_PAYLOAD:
        raise BadFrame(f"the sandbox sent a frame of {header_size} + {payload_size} bytes")
    encoded = await reader.readexactly(header_size)
    payload = await reader.readexactly(payload_size) if payload_size else b""
    try:
        header = json.loads(encoded)
    except (ValueError, RecursionError) as error:
        raise BadFrame("the sandbox sent a frame whose header is not JSON") from error
    if not isinstance(header, dict):
        raise BadFrame("the sandbox sent a frame whose header is not an object")
    return header, payload


def encode_frames(header: dict[str, Any], payload: bytes) -> list[bytes]:
    """Encode a request as bytes. A large payload is split."""
    pieces = []
    while len(payload) > MAX_PAYLOAD:
        pieces.append(_frame({"id": header["id"], "more": True}, payload[:MAX_PAYLOAD]))
        payload = payload[MAX_PAYLOAD:]
    pieces.append(_frame(header, payload))
    return pieces


def _frame(header: dict[str, Any], payload: bytes) -> bytes:
    encoded = json.dumps(header).encode()
    return LENGTHS.pack(len(encoded), len(payload)) + encoded + payload
