"""Thinking blocks: configuration, validation, and signatures.

A signature is an HMAC over the block's text under the fake server's own key, so that a changed or foreign block is
rejected as the service rejects it. The fake server also stores the thinking of each tool call, because during a tool
loop the last turn's thinking must come back whole and in order.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aar.messages_api.model_specs import ModelSpec
from aar.messages_api.request import ContentBlock, Json, MessagesRequest

LEAST_BUDGET = 1024
_MOST_REMEMBERED = 100_000
_KINDS = ("thinking", "redacted_thinking")
_CHANGED = (
    "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified. These blocks must "
    "remain as they were in the original response."
)


def is_thinking_enabled(request: MessagesRequest, traits: ModelSpec) -> bool:
    """Return True if the reply may contain thinking."""
    asked = request.body.get("thinking")
    return traits.thinks_unasked if not asked else asked.get("type") != "disabled"


def thinking_config_errors(request: MessagesRequest, traits: ModelSpec) -> Iterator[str]:
    """Yield errors in the ``thinking`` parameter and in parameters that depend on it."""
    asked = request.body.get("thinking") or {}
    kind = asked.get("type")
    if kind is not None and kind not in traits.thinking:
        yield f'thinking.type: "{kind}" is not supported on {request.model}. Use one of: {sorted(traits.thinking)}'
    if kind == "enabled":
        budget = asked.get("budget_tokens", 0)
        if budget < LEAST_BUDGET:
            yield f"thinking.enabled.budget_tokens: Input should be greater than or equal to {LEAST_BUDGET}"
        interleaved = any(beta.startswith("interleaved-thinking") for beta in request.betas)
        if "max_tokens" in request.body and budget >= request.max_tokens and not interleaved:
            yield "`max_tokens` must be greater than `thinking.budget_tokens`."
    forced = (request.body.get("tool_choice") or {}).get("type") in ("any", "tool")
    if forced and is_thinking_enabled(request, traits):
        yield "Thinking may not be enabled when tool_choice forces tool use."


class ThinkingSigner:
    """Signs the thinking of replies and checks returned blocks.

    Args:
        key: the secret; a restarted server with the same key recognises its old blocks.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._turns: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._adopted: set[tuple[str, str]] = set()

    def sign(self, text: str) -> str:
        """Return a new signature of a text, different at each call."""
        nonce = secrets.token_bytes(8)
        return base64.b64encode(nonce + self._mac(nonce, text)).decode()

    def is_valid(self, text: str, signature: str) -> bool:
        """Return True if this server signed the text with the signature."""
        if (text, signature) in self._adopted:
            return True
        try:
            raw = base64.b64decode(signature, validate=True)
        except ValueError:
            return False
        return hmac.compare_digest(raw[8:], self._mac(raw[:8], text))

    def signed(self, block: Mapping[str, Any], *, omitted: bool) -> Json:
        """Return a thinking block as the service returns it.

        ``omitted`` removes the text but not the signature.
        """
        if block["type"] == "redacted_thinking":
            data = str(block["data"])
            return {**block, "data": f"{base64.b64encode(data.encode()).decode()}.{self.sign(data)}"}
        text = "" if omitted else str(block["thinking"])
        if "signature" in block:
            # A script that names its signature, such as a recorded one, is taken at its word.
            if len(self._adopted) >= _MOST_REMEMBERED:
                self._adopted.clear()
            self._adopted.add((text, block["signature"]))
            return {**block, "thinking": text}
        return {**block, "thinking": text, "signature": self.sign(text)}

    def remember(self, content: Sequence[Mapping[str, Any]]) -> None:
        """Record the thinking of a reply's tool calls."""
        proofs = tuple(thinking_key(block) for block in content if block["type"] in _KINDS)
        for block in content:
            if block["type"] == "tool_use":
                self._turns[block["id"]] = proofs
        while len(self._turns) > _MOST_REMEMBERED:
            self._turns.popitem(last=False)

    def signature_errors(self, request: MessagesRequest, traits: ModelSpec) -> Iterator[str]:
        """Yield errors in the thinking blocks of a request."""
        for block in request.blocks():
            if block.kind in _KINDS and not self._genuine(block):
                yield f"{block.at}: Invalid `{_field(block)}` in `{block.kind}` block"
        last = next((m for m in reversed(request.messages) if m.role == "assistant"), None)
        looping = request.messages[-1].role == "user" and bool(request.results())
        if last is None or not looping:
            return
        first = last.blocks[0]
        manual = (request.body.get("thinking") or {}).get("type") == "enabled"
        if manual and first.kind not in (*_KINDS, "compaction"):
            yield (
                f"{first.at}.type: Expected `thinking` or `redacted_thinking`, but found `{first.kind}`. When "
                "`thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the "
                "lastmost set of `tool_use` and `tool_result` blocks). To avoid this requirement, disable `thinking`."
            )
        if is_thinking_enabled(request, traits):
            yield from self._missing(last.blocks)

    def _missing(self, blocks: Sequence[ContentBlock]) -> Iterator[str]:
        known = next((self._turns[b.data["id"]] for b in reversed(blocks) if b.data.get("id") in self._turns), None)
        sent = tuple(thinking_key(block.data) for block in blocks if block.kind in _KINDS)
        # Merged with an earlier assistant message, the turn may hold more thinking in front.
        if known is not None and sent[len(sent) - len(known) :] != known:
            place = next((block for block in blocks if block.kind in _KINDS), blocks[0])
            yield f"{place.at}: {_CHANGED}"

    def _genuine(self, block: ContentBlock) -> bool:
        if block.kind == "thinking":
            return self.is_valid(block.data["thinking"], block.data["signature"])
        encoded, _, signature = str(block.data["data"]).partition(".")
        try:
            return self.is_valid(base64.b64decode(encoded, validate=True).decode(), signature)
        except ValueError:
            return False

    def _mac(self, nonce: bytes, text: str) -> bytes:
        return hmac.new(self._key, nonce + text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def _field(block: ContentBlock) -> str:
    return "signature" if block.kind == "thinking" else "data"


def thinking_key(block: Mapping[str, Any]) -> str:
    """Return the identity of a thinking block: its signature, or its hidden data."""
    return str(block["signature"] if block["type"] == "thinking" else block["data"])
