"""Responses as the service sends them: cut to limits, signed, with stop reason and usage."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aar.messages_api.context.prompt_cache import CacheUse
from aar.messages_api.context.thinking import ThinkingSigner
from aar.messages_api.replies import ModelReply
from aar.messages_api.request import Json, MessagesRequest
from aar.messages_api.token_counts import BYTES_PER_TOKEN, compact_json, count_block_tokens, count_text_tokens

_THINKING = ("thinking", "redacted_thinking")


@dataclass(frozen=True, slots=True)
class ResponsePart:
    """A block of the response.

    ``raw`` is the JSON of a tool call's input where it is not just that input.
    """

    block: Json
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class FinishedReply:
    """A reply's content and its stop reason."""

    parts: Sequence[ResponsePart]
    stop_reason: str
    stop_sequence: str | None = None
    stop_details: Mapping[str, Any] | None = None
    output_tokens: int = 0
    thinking_tokens: int = 0


@dataclass(frozen=True, slots=True)
class OutputLimit:
    """A limit on a reply's length: tokens, and the stop reason above them."""

    tokens: int
    reason: str = "max_tokens"


def finish_reply(
    reply: ModelReply, request: MessagesRequest, room: OutputLimit, signer: ThinkingSigner, *, thinking: bool
) -> FinishedReply:
    """Cut a reply to its limits and sign its thinking.

    Args:
        reply: the model's.
        request: the request.
        room: the limit on its length.
        signer: the fake server's.
        thinking: True if thinking is on; the reply's is left out otherwise.
    """
    blocks = [block for block in reply.blocks() if thinking or block["type"] not in _THINKING]
    if (request.body.get("tool_choice") or {}).get("disable_parallel_tool_use"):
        blocks = _one_call(blocks)
    blocks, stopped = _until_stop(blocks, request.body.get("stop_sequences") or ())
    parts, used, cut = _within(blocks, room.tokens, reply.raw_input)
    thought = sum(count_block_tokens(part.block) for part in parts if part.block["type"] in _THINKING)
    omitted = (request.body.get("thinking") or {}).get("display") == "omitted"
    signed = [_signed(part, signer, omitted=omitted) for part in parts]
    signer.remember([part.block for part in signed])
    reason = "tool_use" if any(part.block["type"] == "tool_use" for part in parts) else "end_turn"
    if cut:
        reason = room.reason
    elif stopped is not None:
        reason = "stop_sequence"
    elif reply.stop_reason:
        reason = reply.stop_reason
    # Even an answer without content is not free; only asking for none is.
    output = used or min(1, room.tokens)
    return FinishedReply(signed, reason, stopped if not cut else None, reply.stop_details, output, thought)


def _one_call(blocks: Sequence[Json]) -> list[Json]:
    calls = [block for block in blocks if block["type"] == "tool_use"]
    return [block for block in blocks if block["type"] != "tool_use" or block is calls[0]]


def _until_stop(blocks: Sequence[Json], sequences: Sequence[str]) -> tuple[list[Json], str | None]:
    """Return the blocks before the first stop sequence, and that sequence."""
    kept: list[Json] = []
    for block in blocks:
        if block["type"] == "text" and sequences:
            found = [(block["text"].find(stop), stop) for stop in sequences if stop in block["text"]]
            if found:
                at, stop = min(found)
                return [*kept, {**block, "text": block["text"][:at]}] if at else kept, stop
        kept.append(block)
    return kept, None


def _within(blocks: Sequence[Json], room: int, raw_input: str | None) -> tuple[list[ResponsePart], int, bool]:
    """Return the blocks that fit, their tokens, and whether some were cut."""
    last_call = max((i for i, block in enumerate(blocks) if block["type"] == "tool_use"), default=-1)
    parts: list[ResponsePart] = []
    used = 0
    for index, block in enumerate(blocks):
        raw = raw_input if index == last_call else None
        size = count_block_tokens(block) if raw is None else count_text_tokens(block["name"]) + count_text_tokens(raw)
        if used + size > room:
            cut = _cut(block, room - used, raw)
            return ([*parts, cut] if cut else parts), room, True
        parts.append(ResponsePart(block, raw))
        used += size
    return parts, used, room == 0


def _cut(block: Json, room: int, raw: str | None) -> ResponsePart | None:
    if block["type"] in ("text", "thinking"):
        text = _head(block[block["type"]], room)
        return ResponsePart({**block, block["type"]: text}) if text else None
    if block["type"] == "tool_use" and room > count_text_tokens(block["name"]):
        text = raw if raw is not None else compact_json(block["input"])
        return ResponsePart(block, _head(text, room - count_text_tokens(block["name"])))
    return None


def _head(text: str, tokens: int) -> str:
    return text.encode("utf-8", "replace")[: max(0, tokens) * BYTES_PER_TOKEN].decode("utf-8", "ignore")


def _signed(part: ResponsePart, signer: ThinkingSigner, *, omitted: bool) -> ResponsePart:
    if part.block["type"] not in _THINKING:
        return part
    return ResponsePart(signer.signed(part.block, omitted=omitted))


@dataclass(frozen=True, slots=True)
class UsageAccount:
    """The billed usage of a request: its own prompt, and earlier summaries."""

    prompt: CacheUse
    compactions: Sequence[tuple[CacheUse, int]] = ()
    server_tool_use: Mapping[str, int] | None = None
    said: Mapping[str, Any] = field(default_factory=dict)
    iterations: bool = False

    def usage(self, finished: FinishedReply) -> Json:
        """Return the ``usage`` object of the response."""
        tools = self.server_tool_use
        usage: Json = {
            **_figures(self.prompt, finished.output_tokens),
            "output_tokens_details": {"thinking_tokens": finished.thinking_tokens},
            "server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 0, **tools} if tools else None,
            "service_tier": "standard",
        }
        if self.iterations:
            rows = [{"type": "compaction", **_figures(use, output)} for use, output in self.compactions]
            own = {"type": "message", **_figures(self.prompt, finished.output_tokens)}
            usage["iterations"] = rows if finished.stop_reason == "compaction" else [*rows, own]
        return {**usage, **self.said}


def _figures(use: CacheUse, output: int) -> Json:
    return {
        "input_tokens": use.fresh,
        "cache_creation_input_tokens": use.written_5m + use.written_1h,
        "cache_read_input_tokens": use.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": use.written_5m,
            "ephemeral_1h_input_tokens": use.written_1h,
        },
        "output_tokens": output,
    }


def build_message(
    request: MessagesRequest, finished: FinishedReply, usage: Json, applied: Sequence[Json] | None
) -> Json:
    """Return the response as the service's ``message`` object. Ids are random."""
    message: Json = {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [_whole(part) for part in finished.parts],
        "stop_reason": finished.stop_reason,
        "stop_sequence": finished.stop_sequence,
        "stop_details": finished.stop_details,
        "usage": usage,
    }
    if applied is not None:
        message["context_management"] = {"applied_edits": list(applied)}
    return message


def _whole(part: ResponsePart) -> Json:
    if part.raw is None:
        return part.block
    # The parser that the SDK itself reads unfinished input with; it comes with the SDK.
    import jiter

    try:
        given = jiter.from_json(part.raw.encode("utf-8", "replace"), partial_mode=True)
    except ValueError:
        given = {}
    return {**part.block, "input": given if isinstance(given, dict) else {}}
