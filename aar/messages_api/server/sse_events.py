"""Server-sent events of a message, in the service's order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from aar.messages_api.request import Json
from aar.messages_api.server.response import ResponsePart
from aar.messages_api.token_counts import compact_json

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
