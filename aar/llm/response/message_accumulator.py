"""Assembles a streamed reply, block by block, exactly as the service sent it.

The SDK's own accumulator parses the whole tool input again at every fragment, which is quadratic in its length, and
builds a model per event. Here fragments are joined once. Unknown fields and block types stay untouched, so that the
next request sends back exactly what was received (signed thinking above all).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aar.llm.pricing.usage import ReportedUsage
from aar.llm.response.content_blocks import parse_tool_input, resendable_block
from aar.text.characters import make_storable

_APPENDED = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
_LONGEST_REPLY = 32 * 1024**2
"""Characters of a reply; a model's longest is far below."""
_LONGEST_NAME = 200
_MOST_CLEARED = 10**6


@dataclass(frozen=True, slots=True)
class CompleteReply:
    """A complete reply, as the service sent it.

    Args:
        model: that answered; None if the service does not report it.
        content: its blocks.
        reported: usage as counted by the service.
        cleared_tool_uses: how many of the oldest tool results the service left out of the prompt.
    """

    model: str | None
    content: list[dict[str, Any]]
    stop_reason: str
    reported: ReportedUsage
    cleared_tool_uses: int = 0

    @property
    def usage(self) -> Mapping[str, Any]:
        """Return the usage with the service's field names."""
        return self.reported.figures


class MessageAccumulator:
    """Assembles one reply from the data of its server-sent events.

    Args:
        may_summarise: the service was allowed to summarise the conversation before it replies.
    """

    def __init__(self, *, may_summarise: bool = False) -> None:
        self.message: dict[str, Any] | None = None
        self.reported = ReportedUsage()
        self._may_summarise = may_summarise
        self.complete = False
        self._fragments: dict[int, list[str]] = {}
        self.size = 0
        """Grows with all new content, and not with events without content."""

    @property
    def model(self) -> str | None:
        """Return the model that the reply names."""
        named = (self.message or {}).get("model")
        return make_storable(named[:_LONGEST_NAME]) if isinstance(named, str) and named else None

    @property
    def partial_usage(self) -> ReportedUsage:
        """Return the known usage if the reply breaks off now.

        It is empty if a summary may be missing, because its tokens are reported only at the end of a reply.
        """
        content = (self.message or {}).get("content")
        summarised = self._may_summarise and (not content or content[0].get("type") == "compaction")
        return ReportedUsage() if summarised else self.reported

    def reply(self) -> CompleteReply:
        """Return the complete reply. Raises ValueError if a required part is missing."""
        message = self.message
        if not self.complete or message is None:
            raise ValueError("the reply has no end")
        try:
            return CompleteReply(
                model=self.model,
                content=[resendable_block(block) for block in message["content"]],
                stop_reason=make_storable(str(message.get("stop_reason") or "end_turn")[:_LONGEST_NAME]),
                reported=self.reported,
                cleared_tool_uses=_cleared(message.get("context_management")),
            )
        except (LookupError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"the reply is invalid: {error!r}") from error

    def accept_message(self, message: Mapping[str, Any]) -> None:
        """Accept a message in one piece. Raises ValueError if it is invalid."""
        content = message.get("content")
        if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
            raise ValueError("the message has no content blocks")
        self.message = {**message, "content": content}
        self.reported.take(self.message.pop("usage", None))
        self.complete = True

    def accept_event(self, event: Mapping[str, Any]) -> None:
        """Accept one event. Raises ValueError if it is invalid or out of order."""
        try:
            self._feed(event)
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"an event of the stream is invalid: {error!r}") from error

    def _feed(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind == "message_start":
            if self.message is not None:
                raise ValueError("stream began twice")
            self.message = dict(event["message"], content=[])
            self.reported.take(self.message.pop("usage", None), last=False)
            self.size += 1
            return
        if self.message is None:
            raise ValueError(f"stream began with {kind!r}")
        if kind == "content_block_start":
            self._open(event["index"], event["content_block"])
        elif kind == "content_block_delta":
            self._extend(event["index"], event["delta"])
        elif kind == "content_block_stop":
            self._close(event["index"])
        elif kind == "message_delta":
            self.reported.take(event.get("usage"))
            told = {key: value for key, value in event["delta"].items() if value is not None}
            self.message.update({key: value for key, value in told.items() if key not in ("content", "usage", "model")})
            if event.get("context_management") is not None:
                self.message["context_management"] = event["context_management"]
        elif kind == "message_stop":
            for index in list(self._fragments):
                self._close(index)
            self.complete = True

    def _open(self, index: int, block: dict[str, Any]) -> None:
        content = self._content
        if index != len(content):
            raise ValueError(f"content block {index} out of order")
        content.append(dict(block))
        self.size += 1
        self._fragments[index] = []

    def _extend(self, index: int, delta: dict[str, Any]) -> None:
        block = self._content[index]
        kind = delta["type"]
        fragment = _APPENDED.get(kind)
        if fragment is not None:
            text = delta[fragment] if delta[fragment] is not None else ""
            self.size += len(text)
            if self.size > _LONGEST_REPLY:
                raise ValueError(f"a reply of over {_LONGEST_REPLY} characters")
            self._fragments[index].append(text)
            return
        if kind == "signature_delta":
            block["signature"] = delta["signature"]
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]
        elif kind == "compaction_delta":
            block.update({key: value for key, value in delta.items() if key != "type"})
        else:
            return
        self.size += 1

    def _close(self, index: int) -> None:
        block = self._content[index]
        joined = "".join(self._fragments.pop(index, []))
        if not joined:
            return
        if block["type"] in ("text", "thinking"):
            block[block["type"]] = (block.get(block["type"]) or "") + joined
        elif "input" in block:
            block["input"] = parse_tool_input(joined)

    @property
    def _content(self) -> list[dict[str, Any]]:
        assert self.message is not None
        content: list[dict[str, Any]] = self.message["content"]
        return content


def _cleared(told: object) -> int:
    """Return how many tool results the service reports as left out.

    It is 0 for an invalid report.

    A paid reply is never rejected because of it.
    """
    edits = told.get("applied_edits") if isinstance(told, Mapping) else None
    counts = [edit.get("cleared_tool_uses") for edit in edits or () if isinstance(edit, Mapping)]
    return sum(count for count in counts if isinstance(count, int) and 0 < count <= _MOST_CLEARED)
