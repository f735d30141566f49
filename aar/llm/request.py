"""The request of a model call: content, encoding, cache lifetime, bounds of its tokens."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Literal

SEND_STATUS: ContextVar[SendStatus | None] = ContextVar("send_status", default=None)
"""The call of the current request; the transport marks it as sent."""
CacheLifetime = Literal["5m", "1h"]
_SHORT_SECONDS = 300.0
_LONG_SECONDS = 3600.0
_REWRITE = 1.25 - 0.1
_DEARER = 2.0 - 1.25
_PRIOR_LONG, _PRIOR_TURNS = 0.5, 50.0
FIXED_TOKENS = 4096
"""More than the service adds for tool use itself and for Anthropic's own tool types."""
BLOCK_TOKENS = 48
"""More than the markup around one block or message."""
IMAGE_TOKENS = 6000
"""More than the largest image costs after the service scaled it down."""


class MessageEncoder:
    """Encodes the messages of one growing conversation.

    A message that is the same object as before at its place is not encoded again. So replace messages, and never change
    them in place.
    """

    def __init__(self) -> None:
        self._fields: Mapping[str, Any] | None = None
        self._prefix = b""
        self._known: list[tuple[Mapping[str, Any], bytes]] = []

    def body(self, fields: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> bytes:
        """Encode a request body of ``fields`` and the messages.

        Most fields equal those of the last body.
        """
        if fields != self._fields:
            self._fields, self._prefix = fields, encode_json(fields)[:-1] + b',"messages":'
        return self._prefix + self.encode(messages) + b"}"

    def encode(self, messages: Sequence[Mapping[str, Any]]) -> bytes:
        """Encode the messages as a JSON array."""
        known = self._known
        self._known = [
            known[place] if place < len(known) and known[place][0] is message else (message, encode_json(message))
            for place, message in enumerate(messages)
        ]
        return b"[" + b",".join(encoded for _, encoded in self._known) + b"]"


def encode_json(value: Any) -> bytes:
    """Encode a value as JSON in UTF-8, without spaces.

    Raises ValueError for NaN and infinity.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


@dataclass(slots=True)
class SendStatus:
    """The progress of a call, to decide its charge after an interruption.

    Args:
        sent: part of a request was sent, and it may be billed.
    """

    sent: bool = False


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


@dataclass(slots=True)
class CacheTtlPolicy:
    """Chooses a prompt cache's lifetime: five minutes, or an hour with dearer writes.

    It learns from the pauses between a researcher's calls under this controller. Relative to plain input, a write costs
    1.25 for five minutes and 2 for an hour, a read 0.1 at most (Anthropic's price list). When ``new`` tokens are added
    at each turn to a prompt of ``prompt`` tokens, and a share p of the turns comes later than five minutes after the
    one before, an hour pays as soon as the rewrites that it saves cost more than its dearer writes::

        p (1.25 - 0.1) prompt > (2 - 1.25) new

    p is estimated from the gaps so far, with half a long gap in fifty turns as prior.

    Args:
        clock: seconds, for tests.
    """

    clock: Callable[[], float] = monotonic
    _gaps: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    _last: float | None = None

    def record_call(self) -> None:
        """Record the start of a call: a cache entry lives from its last use."""
        now = self.clock()
        if self._last is not None:
            self._gaps.append(now - self._last)
        self._last = now

    def choose_lifetime(self, prompt_tokens: int, new_tokens: int) -> CacheLifetime:
        """Return the cheaper lifetime for the next call's cache entries.

        Args:
            prompt_tokens: of the whole prompt.
            new_tokens: those that a turn adds to it.
        """
        # A gap of over an hour outlives both.
        late = sum(_SHORT_SECONDS < gap <= _LONG_SECONDS for gap in self._gaps)
        share = (late + _PRIOR_LONG) / (len(self._gaps) + _PRIOR_TURNS)
        return "1h" if share * _REWRITE * prompt_tokens > _DEARER * max(new_tokens, 1) else "5m"


def token_upper_bound(parts: Iterable[Mapping[str, Any]]) -> int:
    """Return an upper bound of the tokens of messages, blocks or tool definitions, without the service.

    Every token of a byte-level tokenizer covers at least one byte, so the UTF-8 bytes of a request bound its tokens.
    Constants bound the markup that the service adds around blocks, and its instructions for tools. Once a turn is
    complete, its own count is exact for everything up to it, and bytes bound only later additions.
    """
    return sum(_bound(part) for part in parts)


def _bound(part: Mapping[str, Any]) -> int:
    content = part.get("content")
    if isinstance(content, list):
        rest = {key: value for key, value in part.items() if key != "content"}
        return _bound(rest) + token_upper_bound(content)
    if part.get("type") == "image":
        return IMAGE_TOKENS
    return len(json.dumps(part, ensure_ascii=False).encode("utf-8", "surrogatepass")) + BLOCK_TOKENS
