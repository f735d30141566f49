"""Thinking blocks: what a request may ask, signatures, and their binding to a conversation."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aar.testing.fake_messages_api.model_specs import ModelSpec
from aar.testing.fake_messages_api.request import ContentBlock, Json, MessagesRequest, invalid_request

BETA = "thinking-binding-controls-2026-08-01"
_KINDS = ("thinking", "redacted_thinking")
_MOST_BOUND = 100_000


class ThinkingBinding:
    """The conversation prefix of each thinking block."""

    def __init__(self) -> None:
        self._bound: OrderedDict[str, bytes] = OrderedDict()

    def bind(self, request: MessagesRequest, content: Sequence[Json]) -> None:
        """Record the prefix of a response's thinking."""
        *_, digest = _prefixes(request, [])
        if request.messages[-1].role != "assistant":
            digest.update(b"assistant")
        for block in content:
            if block["type"] in _KINDS:
                self._bound[thinking_key(block)] = digest.digest()
            else:
                digest.update(_written(block))
        while len(self._bound) > _MOST_BOUND:
            self._bound.popitem(last=False)

    def checked(self, request: MessagesRequest, traits: ModelSpec) -> tuple[MessagesRequest, list[Json]]:
        """Return the request without its dropped thinking, and a report of each block.

        Only blocks that the request asks to drop are dropped.

        Raises:
            ApiError: a block is bound to another conversation.
        """
        asked = (request.body.get("thinking") or {}).get("block_binding")
        if asked and BETA not in request.betas:
            raise invalid_request("thinking.block_binding: Extra inputs are not permitted")
        foreign = self._foreign(request) if traits.binds_thinking and is_thinking_enabled(request, traits) else []
        if not foreign:
            return request, []
        if (asked or {}).get("prefix_mismatch_behavior") != "drop_block":
            raise invalid_request(
                f"{foreign[0].at}: Invalid `signature` in `{foreign[0].kind}` block. The block is bound to a different "
                "conversation. Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "
                '"drop_block".'
            )
        paths = {block.at for block in foreign}
        kept = [replace(m, blocks=tuple(b for b in m.blocks if b.at not in paths)) for m in request.messages]
        report = [{"type": "thinking_dropped", "path": b.at, "reason": "prefix_binding_mismatch"} for b in foreign]
        return replace(request, messages=tuple(message for message in kept if message.blocks)), report

    def _foreign(self, request: MessagesRequest) -> list[ContentBlock]:
        """Return the first foreign block and all thinking after it."""
        found: list[ContentBlock] = []
        if any(block.kind == "compaction" for block in request.blocks()):
            return found
        thoughts = [block for block in request.blocks() if block.kind in _KINDS]
        for block, digest in zip(thoughts, _prefixes(request, thoughts), strict=False):
            bound = self._bound.get(thinking_key(block.data))
            if found or (bound is not None and bound != digest.digest()):
                found.append(block)
        return found


def _prefixes(request: MessagesRequest, before: Sequence[ContentBlock]) -> Iterator[Any]:
    """Yield the running digest of a conversation at each of these blocks, and at its end."""
    digest = hashlib.blake2b(digest_size=16)
    for tool in request.tools:
        digest.update(_written(tool))
    for block in request.system:
        digest.update(_written(block.data))
    stops = {block.at for block in before}
    for message in request.messages:
        digest.update(message.role.encode())
        for block in message.blocks:
            if block.kind not in _KINDS:
                digest.update(_written(block.data))
            elif block.at in stops:
                yield digest
    yield digest


def _written(block: Mapping[str, Any]) -> bytes:
    """Return a block without the parts that clients add or leave out."""
    plain = {key: _plain(value) for key, value in block.items() if value is not None and key != "cache_control"}
    return json.dumps(plain, sort_keys=True).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {k: v for k, v in value.items() if k != "cache_control"} if isinstance(value, dict) else value


LEAST_BUDGET = 1024
_MOST_REMEMBERED = 100_000
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
