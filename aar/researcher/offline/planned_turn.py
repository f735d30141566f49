"""The text and tool calls of an offline researcher's turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from aar.testing.fake_messages_api.replies import ModelReply, text_block, tool_use_block


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

    def reply(self) -> ModelReply:
        """Return the turn as a reply of the Messages API.

        Ids of calls are random, as the service's are: tools use them as idempotency keys across campaigns, and no
        decision reads them.
        """
        said = [text_block(self.text)] if self.text else []
        return ModelReply([*said, *({**tool_use_block(one.tool), "input": one.input} for one in self.calls)])
