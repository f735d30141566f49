"""Turns a request into its response: context, reply, limits, usage."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from aar.testing.fake_messages_api import context_management, thinking
from aar.testing.fake_messages_api.context_management import (
    apply_edits,
    drop_old_thinking,
    editing_errors,
    requested_edits,
)
from aar.testing.fake_messages_api.faults import CutShort, Fault, OtherReply
from aar.testing.fake_messages_api.model_backends import ModelBackend, get_reply, get_summary
from aar.testing.fake_messages_api.model_specs import ModelSpec, get_model_spec
from aar.testing.fake_messages_api.prompt_cache import (
    CacheUse,
    PromptCache,
    PromptSegment,
    cache_errors,
    prompt_segments,
)
from aar.testing.fake_messages_api.replies import (
    BYTES_PER_TOKEN,
    ModelReply,
    VerbatimResponse,
    compact_json,
    count_block_tokens,
    count_text_tokens,
)
from aar.testing.fake_messages_api.request import ApiError, Json, MessagesRequest, invalid_request
from aar.testing.fake_messages_api.thinking import ThinkingSigner, is_thinking_enabled
from aar.testing.fake_messages_api.validation import request_errors

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


_MOST_PAUSED = 10_000


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """A request as passed to its model.

    Args:
        asked: the request as sent.
        request: after edits.
        segments: of the prompt.
        applied: reports of the edits; None when none was requested.
        original_tokens: of the prompt before the edits.
        dropped: thinking left out because it belongs to another conversation; None when the request does not ask for
            it.
    """

    asked: MessagesRequest
    request: MessagesRequest
    segments: Sequence[PromptSegment]
    applied: Sequence[Json] | None
    original_tokens: int
    dropped: Sequence[Json] | None

    @property
    def tokens(self) -> int:
        """Tokens of the prompt."""
        return _total(self.segments)


@dataclass(frozen=True, slots=True)
class AnsweredRequest:
    """A response, and its content for streaming."""

    message: Json
    parts: Sequence[ResponsePart]


class RequestPipeline:
    """The pipeline of a fake server, with its state between requests."""

    def __init__(self, model: ModelBackend, cache: PromptCache, signer: ThinkingSigner) -> None:
        self._model = model
        self._cache = cache
        self._signer = signer
        self._binding = thinking.ThinkingBinding()
        self._paused: OrderedDict[str, None] = OrderedDict()

    def prepare(self, request: MessagesRequest) -> PreparedPrompt:
        """Check a request and edit its context.

        Raises:
            ApiError: the first invalid value.
        """
        traits = get_model_spec(request.model)
        last = request.messages[-1]
        resumed = last.role == "assistant" and _print_of([dict(block.data) for block in last.blocks]) in self._paused
        # A conversation is summarized as it is, even one that ends with the assistant's turn.
        resumed = resumed or context_management.is_summary_request(request)
        checks: list[Iterable[str | ApiError]] = [
            context_management.summary_errors(request, self._signer),
            request_errors(request, traits, resumed=resumed),
            self._signer.signature_errors(request, traits),
            cache_errors(request),
            editing_errors(request),
            context_management.compaction_errors(request, self._signer),
        ]
        for complaint in chain.from_iterable(checks):
            raise complaint if isinstance(complaint, ApiError) else invalid_request(complaint)
        bound, dropped = self._binding.checked(request, traits)
        seen = context_management.since_summary(bound)
        if not traits.keeps_thinking and not requested_edits(request):
            seen = drop_old_thinking(seen)
        segments = prompt_segments(seen)
        original = _total(segments)
        applied: Sequence[Json] | None = None
        if "context_management" in request.body:
            edited = apply_edits(seen, original)
            seen, applied = edited.request, edited.applied
            segments = prompt_segments(seen) if applied else segments
        tokens = _total(segments)
        if tokens > traits.window:
            raise invalid_request(f"prompt is too long: {tokens} tokens > {traits.window} maximum")
        reported = dropped if thinking.BETA in request.betas else None
        return PreparedPrompt(request, seen, segments, applied, original, reported)

    def count(self, request: MessagesRequest) -> Json:
        """Return the response of ``count_tokens``. Raises ApiError like ``prepare``."""
        prompt = self.prepare(request)
        counted: Json = {"input_tokens": prompt.tokens}
        if prompt.applied is not None:
            counted["context_management"] = {"original_input_tokens": prompt.original_tokens}
        return counted

    async def answer(self, prompt: PreparedPrompt, fault: Fault | None) -> AnsweredRequest | VerbatimResponse:
        """Return the response to a prepared request and update the prompt cache.

        Raises:
            ApiError: the model has no reply.
        """
        request, traits = prompt.request, get_model_spec(prompt.request.model)
        written: list[tuple[CacheUse, int]] = []
        summary: Json | None = None
        segments = prompt.segments
        if context_management.is_summary_request(request):
            text = get_summary(self._model, request)
            written.append((self._cache.use(segments, traits.least_cached), count_text_tokens(text)))
            only = FinishedReply([ResponsePart(context_management.summary_block(text, self._signer))], "compaction")
            return self._sent(request, only, UsageAccount(CacheUse(), written, iterations=True), prompt)
        asked = context_management.compaction_edit(request)
        if asked is not None and prompt.tokens >= context_management.trigger_threshold(asked):
            text = get_summary(self._model, request)
            written.append((self._cache.use(segments, traits.least_cached), count_text_tokens(text)))
            summary = context_management.compaction_block(text, self._signer)
            if asked.get("pause_after_compaction"):
                only = FinishedReply([ResponsePart(summary)], "compaction")
                return self._sent(request, only, UsageAccount(CacheUse(), written, iterations=True), prompt)
            request = context_management.compact_request(request, summary)
            segments = prompt_segments(request)
        reply = fault.reply if isinstance(fault, OtherReply) else await get_reply(self._model, request)
        if isinstance(reply, VerbatimResponse):
            return reply
        use = self._cache.use(segments, traits.least_cached)
        room = _room(request, traits, use.total, fault)
        finished = finish_reply(reply, request, room, self._signer, thinking=is_thinking_enabled(request, traits))
        if summary is not None:
            finished = replace(finished, parts=[ResponsePart(summary), *finished.parts])
        accounts = UsageAccount(use, written, reply.server_tool_use, reply.usage, iterations=asked is not None)
        return self._sent(request, finished, accounts, prompt)

    def _sent(
        self, request: MessagesRequest, finished: FinishedReply, accounts: UsageAccount, prompt: PreparedPrompt
    ) -> AnsweredRequest:
        message = build_message(request, finished, accounts.usage(finished), prompt.applied)
        if prompt.dropped is not None:
            message["input_transformations"] = list(prompt.dropped)
        if get_model_spec(request.model).binds_thinking:
            self._binding.bind(prompt.asked, message["content"])
        if finished.stop_reason == "pause_turn":
            last = request.messages[-1]
            # A turn that is paused again goes back with its former content.
            before = [dict(block.data) for block in last.blocks] if last.role == "assistant" else []
            self._paused[_print_of([*before, *message["content"]])] = None
            while len(self._paused) > _MOST_PAUSED:
                self._paused.popitem(last=False)
        return AnsweredRequest(message, finished.parts)


def _room(request: MessagesRequest, traits: ModelSpec, prompt_tokens: int, fault: Fault | None) -> OutputLimit:
    room = OutputLimit(request.max_tokens)
    if isinstance(fault, CutShort) and fault.tokens < room.tokens:
        room = OutputLimit(fault.tokens)
    left = traits.window - prompt_tokens
    return room if room.tokens <= left else OutputLimit(left, "model_context_window_exceeded")


def _total(segments: Sequence[PromptSegment]) -> int:
    return sum(segment.tokens for segment in segments)


def _print_of(content: Sequence[Json]) -> str:
    """Return a fingerprint that identifies a paused turn.

    Marks and empty fields added by a client do not matter.
    """
    plain = [{k: v for k, v in block.items() if v is not None and k != "cache_control"} for block in content]
    return compact_json(sorted(map(compact_json, map(_ordered, plain))))


def _ordered(block: Json) -> Json:
    return dict(sorted(block.items()))
