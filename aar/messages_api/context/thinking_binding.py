"""Preserved thinking: on newer models a thinking block is bound to its conversation.

When it comes back, system prompt, tools and every message before it must be unchanged; a client that edits its history
is rejected, or has the blocks dropped if it requested that (platform.claude.com/docs, "Preserved thinking").
Breakpoints of the prompt cache do not count, nor do thinking blocks that were left out. A conversation that begins with
a summary is not checked, and neither is a block that this server did not make.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aar.messages_api.api_errors import invalid_request
from aar.messages_api.context.thinking import is_thinking_enabled, thinking_key
from aar.messages_api.model_specs import ModelSpec
from aar.messages_api.request import ContentBlock, Json, MessagesRequest

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
