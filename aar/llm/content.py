"""Normalises a reply's content blocks for the next request; lists the tool calls of a turn.

Known content goes back as received. Content that no request may contain is replaced when a reply is read: the service
would refuse a conversation with it at every turn.
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aar.events import TurnReceived
from aar.text import repair_surrogates

ContentBlock = dict[str, Any]

INVALID_INPUT = "_not_valid_json"
"""Key that stores a tool input that is not a JSON object, for the tool to refuse."""
RESENDABLE_TYPES = frozenset(
    {
        "advisor_tool_result",
        "bash_code_execution_tool_result",
        "code_execution_tool_result",
        "compaction",
        "container_upload",
        "fallback",
        "mcp_tool_listing",
        "mcp_tool_result",
        "mcp_tool_use",
        "redacted_thinking",
        "server_tool_use",
        "text",
        "text_editor_code_execution_tool_result",
        "thinking",
        "tool_search_tool_result",
        "tool_use",
        "web_fetch_tool_result",
        "web_search_tool_result",
    }
)
"""Kinds of block that an assistant message of a request may contain."""
_TEXTS = {"text": ("text",), "thinking": ("thinking", "signature"), "redacted_thinking": ("data",)}
_DEEPEST = 64
_LONGEST_INPUT = 1_000_000
"""Characters of a tool's input; no reply of a model is as long."""
_SHOWN = 2000
_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME = 64
TRUNCATED_STOP_REASONS = frozenset({"max_tokens", "model_context_window_exceeded"})
"""Stop reasons after which the last block is cut off."""
REASONING_BLOCK_TYPES = frozenset({"thinking", "redacted_thinking"})
"""Kinds of block that only the model itself can read."""


def resendable_block(block: Mapping[str, Any]) -> ContentBlock:
    """Return the block as it is sent back.

    An unknown or invalid one becomes a text about it.
    """
    kind = block.get("type")
    if kind == "tool_use":
        return _resendable_call(block)
    try:
        plain = _plain(dict(block))
    except ValueError as error:
        return _note(kind, str(error))
    if not isinstance(kind, str) or kind not in RESENDABLE_TYPES:
        return _note(kind, json.dumps(plain, ensure_ascii=False))
    texts = {name: plain.get(name) for name in _TEXTS.get(kind, ())}
    return {**plain, **{name: text if isinstance(text, str) else "" for name, text in texts.items()}}


def parse_tool_input(text: str) -> dict[str, Any]:
    """Parse a tool's input from its JSON; store invalid input under ``INVALID_INPUT``.

    Input is invalid if it is not an object, is too deep or too long, or contains a number that JSON does not have.
    """
    if len(text) <= _LONGEST_INPUT:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):  # a number of thousands of digits is a ValueError
            return _invalid(text)
        if isinstance(value, dict):
            return _resendable_input(value, text)
    return _invalid(text)


def with_unique_ids(
    content: Sequence[ContentBlock], taken: Container[str]
) -> tuple[list[ContentBlock], dict[str, str]]:
    """Return a reply's blocks, with new ids for calls whose id is repeated or malformed.

    Some servers number the calls in each reply, and no request may contain an id twice.

    Returns:
        The blocks, and the service's own ids of the renamed calls, by their new ids.
    """
    seen: set[str] = set()
    renamed: dict[str, str] = {}
    unique = []
    for block in content:
        if block.get("type") == "tool_use":
            own = block["id"]
            if own in seen or own in taken or not _ID.fullmatch(own):
                block = {**block, "id": _new_id()}
                renamed[block["id"]] = own
            seen.add(block["id"])
        unique.append(block)
    return unique, renamed


def _resendable_call(block: Mapping[str, Any]) -> ContentBlock:
    """Complete a tool call, so that it can be answered and sent back."""
    own, name, given = block.get("id"), block.get("name"), block.get("input")
    try:
        rest = _plain({key: value for key, value in block.items() if key != "input"})
    except ValueError:
        rest = {"type": "tool_use"}
    spelled = _NOT_IN_NAMES.sub("_", name)[:_LONGEST_NAME] if isinstance(name, str) else ""
    return {
        **rest,
        "id": repair_surrogates(own) if isinstance(own, str) and own else _new_id(),
        "name": spelled or "unnamed",
        "input": _given_input(given),
    }


def _given_input(given: object) -> dict[str, Any]:
    """Return a call's input; some servers send it as JSON text."""
    if isinstance(given, dict):
        return _resendable_input(given, "")
    if isinstance(given, str):
        return parse_tool_input(given) if given else {}
    return {} if given is None else _invalid(str(given))


def _resendable_input(value: dict[str, Any], text: str) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = _plain(value)
    except ValueError as error:
        return _invalid(text or str(error))
    return plain


def _plain(value: Any, depth: int = 0) -> Any:
    """Return the value with complete characters.

    Raises ValueError if it nests too deep or has an invalid number.
    """
    if isinstance(value, str):
        return repair_surrogates(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"it contains {value}, which is not a JSON number")
    if not isinstance(value, (dict, list)):
        return value
    if depth > _DEEPEST:
        raise ValueError(f"it nests deeper than {_DEEPEST} levels")
    if isinstance(value, list):
        return [_plain(each, depth + 1) for each in value]
    return {repair_surrogates(key): _plain(each, depth + 1) for key, each in value.items()}


def _invalid(text: str) -> dict[str, Any]:
    return {INVALID_INPUT: repair_surrogates(text[:_SHOWN])}


def _note(kind: object, about: str) -> ContentBlock:
    shown = about if len(about) <= _SHOWN else about[:_SHOWN] + "…"
    return {"type": "text", "text": repair_surrogates(f"[A block of kind {kind!s:.64} was left out here: {shown}]")}


def _new_id() -> str:
    return f"toolu_{uuid.uuid4().hex}"


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
