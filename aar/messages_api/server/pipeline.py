"""The pipeline from request to response: rules, context editing, compaction, cache, model, limits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from aar.messages_api.api_errors import ApiError, invalid_request
from aar.messages_api.context import compaction, on_demand_compaction, thinking_binding
from aar.messages_api.context.context_editing import apply_edits, drop_old_thinking, editing_errors, requested_edits
from aar.messages_api.context.prompt_cache import CacheUse, PromptCache, PromptSegment, cache_errors, prompt_segments
from aar.messages_api.context.thinking import ThinkingSigner, is_thinking_enabled
from aar.messages_api.model_specs import ModelSpec, get_model_spec
from aar.messages_api.replies import VerbatimResponse
from aar.messages_api.request import Json, MessagesRequest
from aar.messages_api.server.faults import CutShort, Fault, OtherReply
from aar.messages_api.server.model_backends import ModelBackend, get_reply, get_summary
from aar.messages_api.server.response import (
    FinishedReply,
    OutputLimit,
    ResponsePart,
    UsageAccount,
    build_message,
    finish_reply,
)
from aar.messages_api.token_counts import compact_json, count_text_tokens
from aar.messages_api.validation import request_errors

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
        self._binding = thinking_binding.ThinkingBinding()
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
        resumed = resumed or on_demand_compaction.is_summary_request(request)
        checks: list[Iterable[str | ApiError]] = [
            on_demand_compaction.summary_errors(request, self._signer),
            request_errors(request, traits, resumed=resumed),
            self._signer.signature_errors(request, traits),
            cache_errors(request),
            editing_errors(request),
            compaction.compaction_errors(request, self._signer),
        ]
        for complaint in chain.from_iterable(checks):
            raise complaint if isinstance(complaint, ApiError) else invalid_request(complaint)
        bound, dropped = self._binding.checked(request, traits)
        seen = compaction.since_summary(bound)
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
        reported = dropped if thinking_binding.BETA in request.betas else None
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
        if on_demand_compaction.is_summary_request(request):
            text = get_summary(self._model, request)
            written.append((self._cache.use(segments, traits.least_cached), count_text_tokens(text)))
            only = FinishedReply([ResponsePart(on_demand_compaction.summary_block(text, self._signer))], "compaction")
            return self._sent(request, only, UsageAccount(CacheUse(), written, iterations=True), prompt)
        asked = compaction.compaction_edit(request)
        if asked is not None and prompt.tokens >= compaction.trigger_threshold(asked):
            text = get_summary(self._model, request)
            written.append((self._cache.use(segments, traits.least_cached), count_text_tokens(text)))
            summary = compaction.compaction_block(text, self._signer)
            if asked.get("pause_after_compaction"):
                only = FinishedReply([ResponsePart(summary)], "compaction")
                return self._sent(request, only, UsageAccount(CacheUse(), written, iterations=True), prompt)
            request = compaction.compact_request(request, summary)
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
