"""Parses a request's messages into a record of the researcher's actions and observations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aar.testing.fake_messages_api.request import Message, MessagesRequest


@dataclass(frozen=True, slots=True)
class ToolStep:
    """One tool call: its name, input, result as text, and error flag."""

    tool: str
    input: Mapping[str, Any]
    result: str
    failed: bool

    def input_text(self, field: str) -> str:
        """Return a field of the input as text; empty if absent."""
        return str(self.input.get(field, ""))


@dataclass(frozen=True, slots=True)
class ConversationTurn:
    """One turn of the researcher with its answers.

    These are tool results, and messages from outside (news, a person).
    """

    text: str
    steps: Sequence[ToolStep]
    messages: Sequence[str]


@dataclass(frozen=True, slots=True)
class ObservedConversation:
    """The complete input of the next turn.

    Args:
        researcher: its name, such as ``r1``.
        problem: name of the problem, as registered.
        direction_key, direction: its starting point.
        opening: the first user message.
        exchanges: all turns so far, oldest first.
    """

    researcher: str
    problem: str
    direction_key: str
    direction: str
    opening: str
    exchanges: Sequence[ConversationTurn]


def parse_conversation(request: MessagesRequest) -> ObservedConversation:
    """Parse the record of a checked request.

    Missing lines of the system prompt count as empty.
    """
    system = request.system_text
    key, _, direction = _line(system, "Direction").partition(":")
    messages = [message for message in request.messages if message.role != "system"]
    exchanges = [_exchange(turn, answer) for turn, answer in zip(messages[1::2], messages[2::2], strict=True)]
    return ObservedConversation(
        researcher=_line(system, "Researcher"),
        problem=_line(system, "Problem"),
        direction_key=key.strip(),
        direction=direction.strip(),
        opening=_texts(messages[0]),
        exchanges=exchanges,
    )


def _line(system: str, label: str) -> str:
    found = re.search(rf"^{label}:[ \t]*(.*)$", system, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _exchange(turn: Message, answer: Message) -> ConversationTurn:
    results = {block.data["tool_use_id"]: block.data for block in answer.blocks if block.kind == "tool_result"}
    steps = [
        ToolStep(
            block.data["name"],
            block.data["input"],
            _result_text(results[block.data["id"]]),
            _failed(results, block.data),
        )
        for block in turn.blocks
        if block.kind == "tool_use"
    ]
    return ConversationTurn(
        _texts(turn), steps, [str(block.data["text"]) for block in answer.blocks if block.kind == "text"]
    )


def _failed(results: Mapping[str, Mapping[str, Any]], call: Mapping[str, Any]) -> bool:
    return bool(results[call["id"]].get("is_error", False))


def _result_text(result: Mapping[str, Any]) -> str:
    """Return the text of a result, without its other blocks."""
    content = result.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(block["text"]) for block in content if block["type"] == "text")


def _texts(message: Message) -> str:
    return "\n".join(str(block.data["text"]) for block in message.blocks if block.kind == "text")
