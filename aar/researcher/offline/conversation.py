"""A request's messages as a researcher's record: what it did, and what it saw of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aar.researcher.offline.wire import CountRequest, RequestMessage, TextBlock, ToolResultBlock, ToolUseBlock


@dataclass(frozen=True, slots=True)
class Step:
    """One tool call: its name and input, the text that came back, and whether that was an error."""

    tool: str
    input: Mapping[str, Any]
    result: str
    failed: bool

    def asked(self, field: str) -> str:
        """A field of the input as text; empty when absent."""
        return str(self.input.get(field, ""))


@dataclass(frozen=True, slots=True)
class Exchange:
    """One turn of the researcher, and what it was answered: tool results, and words from outside (news, a person)."""

    text: str
    steps: Sequence[Step]
    told: Sequence[str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Everything that the next turn may depend on.

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
    exchanges: Sequence[Exchange]


def read_conversation(request: CountRequest) -> Conversation:
    """The record in a checked request. Lines that the system prompt lacks are read as empty."""
    system = request.system_text()
    key, _, direction = _line(system, "Direction").partition(":")
    messages = request.messages
    exchanges = [_exchange(turn, answer) for turn, answer in zip(messages[1::2], messages[2::2], strict=True)]
    return Conversation(
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


def _exchange(turn: RequestMessage, answer: RequestMessage) -> Exchange:
    results = {block.tool_use_id: block for block in answer.content if isinstance(block, ToolResultBlock)}
    calls = [block for block in turn.content if isinstance(block, ToolUseBlock)]
    steps = [Step(call.name, call.input, results[call.id].text(), results[call.id].is_error) for call in calls]
    return Exchange(_texts(turn), steps, [block.text for block in answer.content if isinstance(block, TextBlock)])


def _texts(message: RequestMessage) -> str:
    return "\n".join(block.text for block in message.content if isinstance(block, TextBlock))
