"""A request's messages as actions and observations, and the turn that follows."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


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


class InvalidConversation(ValueError):
    """A request's messages are none that a researcher can have sent."""


@dataclass(slots=True)
class _Message:
    role: str
    blocks: list[Mapping[str, Any]]

    def of_type(self, kind: str) -> list[Mapping[str, Any]]:
        return [block for block in self.blocks if block["type"] == kind]

    @property
    def text(self) -> str:
        return "\n".join(str(block["text"]) for block in self.of_type("text"))


def parse_conversation(body: Mapping[str, Any]) -> ObservedConversation:
    """Parse the body of a request to the Messages API.

    Missing lines of the system prompt count as empty.

    Raises:
        InvalidConversation: roles do not alternate, or a tool call and its result do not belong together.
    """
    system = "\n".join(str(block["text"]) for block in _blocks(body.get("system") or []))
    key, _, direction = _line(system, "Direction").partition(":")
    messages = _messages(body.get("messages"))
    exchanges = [_exchange(turn, answer) for turn, answer in zip(messages[1::2], messages[2::2], strict=True)]
    return ObservedConversation(
        researcher=_line(system, "Researcher"),
        problem=_line(system, "Problem"),
        direction_key=key.strip(),
        direction=direction.strip(),
        opening=messages[0].text,
        exchanges=exchanges,
    )


def _messages(given: Any) -> list[_Message]:
    """Merge consecutive messages of one role, as the service does."""
    if not isinstance(given, list) or not given:
        raise InvalidConversation("messages: at least one message is required")
    messages: list[_Message] = []
    for message in given:
        if not isinstance(message, dict) or message.get("role") not in {"user", "assistant"}:
            raise InvalidConversation("messages: role must be user or assistant")
        blocks = _blocks(message.get("content"))
        if not blocks:
            raise InvalidConversation("messages: all messages must have non-empty content")
        if messages and messages[-1].role == message["role"]:
            messages[-1].blocks += blocks
        else:
            messages.append(_Message(message["role"], blocks))
    if messages[0].role != "user" or messages[-1].role != "user":
        raise InvalidConversation("messages: the first message and the last must be the user's")
    return messages


_FIELDS = {"text": {"text"}, "tool_use": {"id", "name", "input"}, "tool_result": {"tool_use_id"}}


def _blocks(content: Any) -> list[Mapping[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    if not isinstance(content, list):
        raise InvalidConversation("content must be a text or a list of blocks")
    for block in content:
        if not isinstance(block, dict) or not _FIELDS.get(str(block.get("type")), {"type"}) <= block.keys():
            raise InvalidConversation("content: a block has no type, or lacks a field of its type")
    return list(content)


def _line(system: str, label: str) -> str:
    found = re.search(rf"^{label}:[ \t]*(.*)$", system, re.MULTILINE)
    return found.group(1).strip() if found else ""


def _exchange(turn: _Message, answer: _Message) -> ConversationTurn:
    calls = turn.of_type("tool_use")
    results = {block["tool_use_id"]: block for block in answer.of_type("tool_result")}
    if results.keys() != {call["id"] for call in calls}:
        raise InvalidConversation(
            f"messages: tool results do not match the tool calls {sorted(str(call['id']) for call in calls)}"
        )
    steps = [
        ToolStep(
            call["name"],
            call["input"],
            _result_text(results[call["id"]]),
            bool(results[call["id"]].get("is_error", False)),
        )
        for call in calls
    ]
    return ConversationTurn(turn.text, steps, [str(block["text"]) for block in answer.of_type("text")])


def _result_text(result: Mapping[str, Any]) -> str:
    """Return the text of a result, without its other blocks."""
    return "\n".join(str(block["text"]) for block in _blocks(result.get("content") or "") if block["type"] == "text")


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A tool call of a turn: the tool's name and its input."""

    tool: str
    input: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedTurn:
    """The next text and tool calls of the researcher."""

    text: str
    calls: Sequence[PlannedCall] = ()

    def content(self) -> list[dict[str, Any]]:
        """Return the turn as content of a message.

        Ids of calls are random, as the service's are: tools use them as idempotency keys across campaigns, and no
        decision reads them.
        """
        text = [{"type": "text", "text": self.text}] if self.text else []
        calls = [
            {"type": "tool_use", "id": f"toolu_{secrets.token_hex(12)}", "name": call.tool, "input": call.input}
            for call in self.calls
        ]
        return [*text, *calls]
