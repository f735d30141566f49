"""The tool calls and the resendable content of a turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aar.events import TurnReceived
from aar.llm.response.content_blocks import ContentBlock

TRUNCATED_STOP_REASONS = frozenset({"max_tokens", "model_context_window_exceeded"})
"""Stop reasons after which the last block is cut off."""
REASONING_BLOCK_TYPES = frozenset({"thinking", "redacted_thinking"})
"""Kinds of block that only the model itself can read."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call of the last turn.

    Args:
        id: the block's id, unique within the turn.
        key: unique within the campaign; the idempotency key of its effect.
        name: the tool.
        input: as the model wrote it, unchecked.
        cut_off: the turn ended within this call, so that it must not run.
        interrupted: it was started before, by a process that died.
    """

    id: str
    key: str
    name: str
    input: Any
    cut_off: bool = False
    interrupted: bool = False


def tool_calls_of(event: TurnReceived) -> list[ToolCall]:
    """Return the calls of a turn, in order."""
    content = resendable_content(event)
    if is_empty_turn(event, content):
        return []
    return [
        ToolCall(
            id=block["id"],
            key=f"{event.request_id}:{block['id']}",
            name=block["name"],
            input=block.get("input"),
            cut_off=event.stop_reason in TRUNCATED_STOP_REASONS and block is content[-1],
        )
        for block in content
        if block.get("type") == "tool_use"
    ]


def resendable_content(event: TurnReceived) -> list[ContentBlock]:
    """Return a turn's blocks without empty texts, which no request may contain."""
    return [block for block in event.content if block.get("type") != "text" or block.get("text", "").strip()]


def is_empty_turn(event: TurnReceived, content: Sequence[ContentBlock]) -> bool:
    """Return whether a turn has nothing that may be part of a conversation."""
    return event.stop_reason == "refusal" or all(block.get("type") in REASONING_BLOCK_TYPES for block in content)
