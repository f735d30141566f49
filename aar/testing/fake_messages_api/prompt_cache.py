"""The prompt cache: prefixes up to a breakpoint, stored for five minutes or an hour.

A prompt is a row of segments: tools, then the system prompt, then the messages. Each has a digest of everything up to
and including it. A request reads the longest prefix that an earlier one wrote within 20 segments before one of its
breakpoints, and writes at its breakpoints, if they lie far enough in. The other parts of a prefix are as documented
(platform.claude.com/docs, "Prompt caching", "What invalidates the cache"): the model and the key for all of it; speed
and output format for system and messages; tool choice, thinking and the presence of images for the messages.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aar.testing.fake_messages_api.replies import compact_json, count_block_tokens, count_text_tokens
from aar.testing.fake_messages_api.request import ContentBlock, MessagesRequest

LOOKBACK = 20
"""Segments searched for an entry, back from a breakpoint and counting it."""
MOST_BREAKPOINTS = 4
SECONDS = {"5m": 300.0, "1h": 3600.0}
"""Lifetime of an entry; each read restarts it."""
_PURGED_EACH = 1000
_UNCACHEABLE = ("thinking", "redacted_thinking")


@dataclass(frozen=True, slots=True)
class PromptSegment:
    """A part of the prompt that a breakpoint may follow.

    Args:
        tokens: of this part alone.
        digest: of the prompt up to and including it.
        ttl: "5m" or "1h" where the request marks a breakpoint; empty elsewhere.
    """

    tokens: int
    digest: bytes
    ttl: str = ""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """A prompt's tokens by billing category."""

    fresh: int = 0
    read: int = 0
    written_5m: int = 0
    written_1h: int = 0

    @property
    def total(self) -> int:
        """All tokens of the prompt."""
        return self.fresh + self.read + self.written_5m + self.written_1h


@dataclass(slots=True)
class _Entry:
    expires: float
    lifetime: float


class PromptCache:
    """Cached prefixes by digest.

    Args:
        clock: monotonic seconds; tests pass their own.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[bytes, _Entry] = {}
        self._until_purge = _PURGED_EACH

    def use(self, segments: Sequence[PromptSegment], least: int) -> CacheUse:
        """Account for a prompt: read its cached prefix, store prefixes at its breakpoints.

        Args:
            segments: the prompt.
            least: tokens of the shortest prefix that is cached.
        """
        now = self._clock()
        self._purge(now)
        ends: list[int] = []
        total = 0
        for segment in segments:
            total += segment.tokens
            ends.append(total)
        marks = [i for i, segment in enumerate(segments) if segment.ttl and ends[i] >= least]
        hit = max((found for mark in marks if (found := self._found(segments, mark, now)) is not None), default=-1)
        if hit >= 0:
            entry = self._entries[segments[hit].digest]
            entry.expires = now + entry.lifetime
        billed = {"5m": 0, "1h": 0}
        at = read = ends[hit] if hit >= 0 else 0
        for mark in marks:
            # The part before the hit was read already: its entries stay alive, at no cost.
            self._keep(segments[mark], now)
            if mark > hit:
                billed[segments[mark].ttl] += ends[mark] - at
                at = ends[mark]
        return CacheUse(total - at, read, billed["5m"], billed["1h"])

    def _found(self, segments: Sequence[PromptSegment], mark: int, now: float) -> int | None:
        for index in range(mark, max(-1, mark - LOOKBACK), -1):
            entry = self._entries.get(segments[index].digest)
            if entry is not None and entry.expires > now:
                return index
        return None

    def _keep(self, segment: PromptSegment, now: float) -> None:
        lifetime = SECONDS[segment.ttl]
        entry = self._entries.get(segment.digest)
        if entry is None or entry.expires <= now:
            self._entries[segment.digest] = _Entry(now + lifetime, lifetime)
        else:
            entry.expires = now + entry.lifetime

    def _purge(self, now: float) -> None:
        self._until_purge -= 1
        if self._until_purge <= 0:
            self._entries = {digest: entry for digest, entry in self._entries.items() if entry.expires > now}
            self._until_purge = _PURGED_EACH


def prompt_segments(request: MessagesRequest) -> list[PromptSegment]:
    """Return the segments of a request's prompt as sent to the model."""
    digest = hashlib.blake2b(digest_size=16)
    found: list[PromptSegment] = []

    def add(data: Mapping[str, Any], tokens: int) -> None:
        digest.update(_written(data).encode("utf-8", "surrogatepass") + b"\n")
        found.append(PromptSegment(tokens, digest.copy().digest(), _ttl(data)))

    body = request.body
    digest.update(f"tools:{request.model}:{request.key}".encode())
    for tool in request.tools:
        if not tool.get("defer_loading"):
            add(tool, count_text_tokens(compact_json(_unmarked(tool))))
    output = (body.get("output_config") or {}).get("format")
    digest.update(f"system:{body.get('speed')}:{compact_json(output)}".encode())
    for block in request.system:
        add(block.data, count_block_tokens(block.data))
    images = any(_has_image(block) for block in request.blocks())
    thinking = {k: v for k, v in (body.get("thinking") or {}).items() if k in ("type", "budget_tokens")}
    digest.update(f"messages:{compact_json([body.get('tool_choice'), thinking, images])}".encode())
    for message in request.messages:
        digest.update(message.role.encode())
        for block in message.blocks:
            add(block.data, count_block_tokens(block.data))
    return _marked_last(found, request)


def _marked_last(segments: list[PromptSegment], request: MessagesRequest) -> list[PromptSegment]:
    """Return the segments with the breakpoint of a top-level ``cache_control``.

    It goes to the last segment that can have one.
    """
    asked = request.body.get("cache_control")
    blocks = [*request.system, *request.blocks()]
    if asked and segments:
        index = len(segments) - 1
        while index > 0 and index >= len(segments) - len(blocks) and _of(index, segments, blocks) in _UNCACHEABLE:
            index -= 1
        last = segments[index]
        segments[index] = PromptSegment(last.tokens, last.digest, last.ttl or str(asked.get("ttl") or "5m"))
    return segments


def _of(index: int, segments: Sequence[PromptSegment], blocks: Sequence[ContentBlock]) -> str:
    return blocks[index - len(segments)].kind


def _has_image(block: ContentBlock) -> bool:
    inner = block.data.get("content") if block.kind == "tool_result" else None
    return block.kind == "image" or (isinstance(inner, list) and any(part["type"] == "image" for part in inner))


def _written(data: Mapping[str, Any]) -> str:
    """Return a block as it enters the digest."""
    plain = _unmarked(data)
    if len(plain) != 2 or plain.get("type") != "text":
        return compact_json(plain)
    # Most of a prompt is plain text: its length separates it from its neighbours as well as quotes would.
    text = plain["text"]
    return f"{len(text)}:{text}"


def _unmarked(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a block without its breakpoints, which are not cached."""
    inner = data.get("content")
    if data.get("type") == "tool_result" and isinstance(inner, list) and any("cache_control" in p for p in inner):
        data = {**data, "content": [_unmarked(part) for part in inner]}
    return {key: value for key, value in data.items() if key != "cache_control"} if "cache_control" in data else data


def _ttl(data: Mapping[str, Any]) -> str:
    if "cache_control" not in data and data.get("type") != "tool_result":
        return ""
    return next((ttl for _, ttl in reversed(list(_marks(data, "")))), "")


def _marks(data: Mapping[str, Any], at: str) -> Iterator[tuple[str, str]]:
    """Yield breakpoints of a block with their lifetime, those inside a tool result first."""
    inner = data.get("content") if data.get("type") == "tool_result" else None
    if isinstance(inner, list):
        for index, part in enumerate(inner):
            yield from _marks(part, f"{at}.content.{index}")
    if data.get("cache_control"):
        yield at, str(data["cache_control"].get("ttl") or "5m")


def cache_errors(request: MessagesRequest) -> Iterator[str]:
    """Yield errors in a request's breakpoints."""
    parts = [(tool, f"tools.{index}") for index, tool in enumerate(request.tools)]
    parts += [(block.data, block.at) for block in [*request.system, *request.blocks()]]
    marks = [mark for data, at in parts for mark in _marks(data, at)]
    asked = request.body.get("cache_control")
    if asked and not (parts and parts[-1][0].get("cache_control")):
        marks.append(("cache_control", str(asked.get("ttl") or "5m")))
    if len(marks) > MOST_BREAKPOINTS:
        yield f"A maximum of {MOST_BREAKPOINTS} blocks with cache_control may be provided. Found {len(marks)}."
    short = False
    for at, ttl in marks:
        if ttl not in SECONDS:
            yield f"{at}.cache_control.ttl: Input should be '5m' or '1h'"
        if ttl == "1h" and short:
            yield (
                f"{at}.cache_control.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control "
                "block. Note that blocks are processed in the following order: `tools`, `system`, `messages`."
            )
        short = short or ttl == "5m"
    for data, at in parts:
        if data.get("type") in _UNCACHEABLE and data.get("cache_control"):
            yield f"{at}.{data['type']}.cache_control: Extra inputs are not permitted"
