"""An answer in the forms the Messages API gives it: one message, or a stream of server-sent events."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aar.researcher.offline import MODEL
from aar.researcher.offline.usage import estimate, usage_of
from aar.researcher.offline.wire import MessageRequest

_TEXT_PIECE = 80
_JSON_PIECE = 400


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that a turn makes: the tool's name and its input."""

    tool: str
    input: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """What the researcher says and does next."""

    text: str
    calls: Sequence[Call] = ()


def message_of(request: MessageRequest, turn: Turn) -> dict[str, Any]:
    """The turn as the API's ``message`` object.

    Ids are random, as the service's are: tools use them as idempotency keys across campaigns, and no decision reads
    them. What exceeds ``max_tokens`` is left out and the stop reason says so.
    """
    content, stop_reason = _within(request.max_tokens, _blocks(turn)), "tool_use" if turn.calls else "end_turn"
    if len(content) < len(_blocks(turn)):
        stop_reason = "max_tokens"
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage_of(request, content),
    }


def _blocks(turn: Turn) -> list[dict[str, Any]]:
    text: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
    return text + [
        {"type": "tool_use", "id": f"toolu_{secrets.token_hex(12)}", "name": call.tool, "input": call.input}
        for call in turn.calls
    ]


def _within(max_tokens: int, blocks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = []
    left = max_tokens
    for block in blocks:
        left -= estimate(block)
        if left < 0:
            break
        kept.append(block)
    return kept


def events_of(message: dict[str, Any]) -> Iterator[bytes]:
    """The message as server-sent events, in the order that the service sends them."""
    usage = message["usage"]
    opening = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield _event({"type": "message_start", "message": opening})
    yield _event({"type": "ping"})
    for index, block in enumerate(message["content"]):
        start, deltas = _pieces(block)
        yield _event({"type": "content_block_start", "index": index, "content_block": start})
        for delta in deltas:
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    cumulative = {key: usage[key] for key in usage if key.endswith("_tokens")}
    yield _event({"type": "message_delta", "delta": delta, "usage": cumulative})
    yield _event({"type": "message_stop"})


def _pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        text = block["text"]
        parts = [text[at : at + _TEXT_PIECE] for at in range(0, len(text), _TEXT_PIECE)]
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": part} for part in parts]
    text = json.dumps(block["input"], ensure_ascii=False)
    parts = [text[at : at + _JSON_PIECE] for at in range(0, len(text), _JSON_PIECE)]
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]


def _event(payload: dict[str, Any]) -> bytes:
    return f"event: {payload['type']}\ndata: {json.dumps(payload, ensure_ascii=False)}\n\n".encode()
