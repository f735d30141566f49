"""A model request as data, and its body in the Messages API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from aar.llm.request.request_encoding import MessageEncoder


@dataclass(slots=True)
class SendStatus:
    """The progress of a call, to decide its charge after an interruption.

    Args:
        sent: part of a request was sent, and it may be billed.
    """

    sent: bool = False


SEND_STATUS: ContextVar[SendStatus | None] = ContextVar("flight", default=None)
"""The call of the current request; the transport marks it as sent."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One model request.

    Its body is encoded here: the SDK would copy and encode the whole conversation again at every turn.

    Args:
        model: model id.
        system: the system prompt's blocks.
        tools: tool definitions.
        messages: the conversation.
        max_tokens: bound of the reply.
        extra: further parameters of the Messages API, such as ``thinking``.
        betas: names for the ``anthropic-beta`` header.
        encoder: of the conversation, so that it is not encoded again.
    """

    model: str
    system: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    messages: Sequence[Mapping[str, Any]]
    max_tokens: int
    extra: Mapping[str, Any] = field(default_factory=dict)
    betas: Sequence[str] = ()
    encoder: MessageEncoder = field(default_factory=MessageEncoder)

    @property
    def may_compact(self) -> bool:
        """Return whether the service may summarise the conversation, at the caller's cost."""
        edits = self.extra.get("context_management", {}).get("edits", ())
        return any(edit["type"].startswith("compact_") for edit in edits)

    def body(self) -> bytes:
        """Return the request's body."""
        return self.encoder.body(self._fields(), self.messages)

    def fields(self) -> dict[str, Any]:
        """Return the request's body as an object, for clients that rewrite it."""
        return {**self._fields(), "messages": list(self.messages)}

    def headers(self) -> dict[str, str]:
        """Return the request's headers."""
        named = {"anthropic-beta": ",".join(self.betas)} if self.betas else {}
        return {"Content-Type": "application/json", **named}

    def _fields(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "stream": True,
            "system": self.system,
            "tools": self.tools,
            **self.extra,
        }
