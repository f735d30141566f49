"""Replies of a model: content blocks, token counts and, where it matters, a stop reason."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aar.testing.fake_messages_api.request import Json


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A reply before it is cut to its limits.

    Args:
        content: blocks of the reply; a plain string is a text block. Tool calls without an id get one.
        stop_reason: empty follows from the content.
        stop_details: goes with a refusal.
        raw_input: sent as the JSON of the last tool call instead of its input, valid or not.
        usage: figures that replace the counted ones.
        server_tool_use: counts of server tools, such as ``{"web_search_requests": 1}``.
    """

    content: Sequence[Mapping[str, Any] | str] = ()
    stop_reason: str = ""
    stop_details: Mapping[str, Any] | None = None
    raw_input: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    server_tool_use: Mapping[str, int] | None = None

    def blocks(self) -> list[Json]:
        """Return the content as blocks."""
        found: list[Json] = [text_block(block) if isinstance(block, str) else dict(block) for block in self.content]
        for block in found:
            if block["type"] == "tool_use":
                block["id"] = block.get("id") or new_tool_use_id()
        return found


@dataclass(frozen=True, slots=True)
class VerbatimResponse:
    """A response sent without change, as a recording replays it.

    Args:
        status: HTTP status.
        headers: of the response.
        body: of the response; a stream's events where it was one.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def new_tool_use_id() -> str:
    """Return a random id, as the service's are: clients take them for keys across conversations."""
    return f"toolu_{secrets.token_hex(12)}"


def text_block(text: str) -> Json:
    """Return a text block."""
    return {"type": "text", "text": text}


def thinking_block(text: str) -> Json:
    """Return a thinking block. The server signs it."""
    return {"type": "thinking", "thinking": text}


def redacted_thinking_block(data: str = "hidden") -> Json:
    """Return a thinking block that the service encrypted."""
    return {"type": "redacted_thinking", "data": data}


def tool_use_block(tool: str, **given: Any) -> Json:
    """Return a tool call, with an id of its own."""
    return {"type": "tool_use", "id": "", "name": tool, "input": given}


def refusal_reply(text: str = "", *, category: str | None = None) -> ModelReply:
    """Return a reply that the service's classifiers stopped."""
    details = {"type": "refusal", "category": category, "explanation": None}
    return ModelReply([text_block(text)] if text else [], "refusal", details)


def paused_reply(*content: Mapping[str, Any] | str) -> ModelReply:
    """Return a paused turn.

    The client sends it back unchanged, and the model continues.
    """
    return ModelReply(content, "pause_turn")


BYTES_PER_TOKEN = 4
IMAGE_TOKENS = 1600
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def count_text_tokens(text: str) -> int:
    """Return the tokens of a text; at least 1."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN) or 1


def compact_json(value: Any) -> str:
    """Return a value as JSON without spaces."""
    return _ENCODER.encode(value)


def count_block_tokens(block: Mapping[str, Any]) -> int:
    """Return the tokens of a content block. Marks and signatures count nothing."""
    match block.get("type"):
        case "text":
            return count_text_tokens(block["text"])
        case "thinking":
            return count_text_tokens(block["thinking"])
        case "redacted_thinking":
            return count_text_tokens(block["data"])
        case "compaction":
            return count_text_tokens(block.get("content") or "")
        case "tool_use" | "server_tool_use":
            return count_text_tokens(block["name"]) + count_text_tokens(compact_json(block["input"]))
        case "tool_result":
            content = block.get("content") or ""
            inner = count_text_tokens(content) if isinstance(content, str) else sum(map(count_block_tokens, content))
            return 1 + inner
        case "image":
            return IMAGE_TOKENS
        case _:
            return count_text_tokens(compact_json({key: block[key] for key in block if key != "cache_control"}))
