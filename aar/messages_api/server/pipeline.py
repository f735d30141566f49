"""From a request to its answer: rules, context editing, compaction, the prompt cache, the model, the limits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from aar.messages_api.api_errors import ApiRefusal, invalid
from aar.messages_api.context import compaction, on_demand_compaction, thinking_binding
from aar.messages_api.context.context_editing import edit, editing_complaints, edits_of, without_old_thinking
from aar.messages_api.context.prompt_cache import CacheUse, PromptCache, Segment, cache_complaints, segments_of
from aar.messages_api.context.thinking import Signer, thinking_is_on
from aar.messages_api.model_specs import Traits, traits_of
from aar.messages_api.replies import Verbatim
from aar.messages_api.request import Json, Request
from aar.messages_api.server.faults import CutShort, Fault, Instead
from aar.messages_api.server.model_backends import Model, reply_of, summary_of
from aar.messages_api.server.response import Accounts, Finished, Part, Room, finish, message_of
from aar.messages_api.token_counts import compact_json, text_tokens
from aar.messages_api.validation import complaints

_MOST_PAUSED = 10_000


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request as its model gets it.

    Args:
        asked: the request as it was sent.
        request: after edits.
        segments: of the prompt.
        applied: what the edits report; None when none was asked for.
        original_tokens: of the prompt before the edits.
        dropped: thinking that was left out because it belongs elsewhere; None when the request does not ask.
    """

    asked: Request
    request: Request
    segments: Sequence[Segment]
    applied: Sequence[Json] | None
    original_tokens: int
    dropped: Sequence[Json] | None

    @property
    def tokens(self) -> int:
        """Tokens of the prompt."""
        return _total(self.segments)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, and its content as it is to be streamed."""

    message: Json
    parts: Sequence[Part]


class Answering:
    """What a double knows between requests, and how it answers one."""

    def __init__(self, model: Model, cache: PromptCache, signer: Signer) -> None:
        self._model = model
        self._cache = cache
        self._signer = signer
        self._binding = thinking_binding.Binding()
        self._paused: OrderedDict[str, None] = OrderedDict()

    def prepare(self, request: Request) -> Prompt:
        """Check a request and edit its context.

        Raises:
            ApiRefusal: the first thing that does not hold.
        """
        traits = traits_of(request.model)
        last = request.messages[-1]
        resumed = last.role == "assistant" and _print_of([dict(block.data) for block in last.blocks]) in self._paused
        # A conversation is summarized as it is, even one that ends with the assistant's turn.
        resumed = resumed or on_demand_compaction.is_asked(request)
        checks: list[Iterable[str | ApiRefusal]] = [
            on_demand_compaction.summarizing_complaints(request, self._signer),
            complaints(request, traits, resumed=resumed),
            self._signer.complaints(request, traits),
            cache_complaints(request),
            editing_complaints(request),
            compaction.compaction_complaints(request, self._signer),
        ]
        for complaint in chain.from_iterable(checks):
            raise complaint if isinstance(complaint, ApiRefusal) else invalid(complaint)
        bound, dropped = self._binding.checked(request, traits)
        seen = compaction.from_summary(bound)
        if not traits.keeps_thinking and not edits_of(request):
            seen = without_old_thinking(seen)
        segments = segments_of(seen)
        original = _total(segments)
        applied: Sequence[Json] | None = None
        if "context_management" in request.body:
            edited = edit(seen, original)
            seen, applied = edited.request, edited.applied
            segments = segments_of(seen) if applied else segments
        tokens = _total(segments)
        if tokens > traits.window:
            raise invalid(f"prompt is too long: {tokens} tokens > {traits.window} maximum")
        reported = dropped if thinking_binding.BETA in request.betas else None
        return Prompt(request, seen, segments, applied, original, reported)

    def count(self, request: Request) -> Json:
        """The answer of ``count_tokens``. Raises ApiRefusal like ``prepare``."""
        prompt = self.prepare(request)
        counted: Json = {"input_tokens": prompt.tokens}
        if prompt.applied is not None:
            counted["context_management"] = {"original_input_tokens": prompt.original_tokens}
        return counted

    async def answer(self, prompt: Prompt, fault: Fault | None) -> Answered | Verbatim:
        """The answer to a prepared request; the prompt cache takes it in.

        Raises:
            ApiRefusal: the model has none.
        """
        request, traits = prompt.request, traits_of(prompt.request.model)
        written: list[tuple[CacheUse, int]] = []
        summary: Json | None = None
        segments = prompt.segments
        if on_demand_compaction.is_asked(request):
            text = summary_of(self._model, request)
            written.append((self._cache.use(segments, traits.least_cached), text_tokens(text)))
            only = Finished([Part(on_demand_compaction.summary_block(text, self._signer))], "compaction")
            return self._sent(request, only, Accounts(CacheUse(), written, iterations=True), prompt)
        asked = compaction.asked_for(request)
        if asked is not None and prompt.tokens >= compaction.threshold(asked):
            text = summary_of(self._model, request)
            written.append((self._cache.use(segments, traits.least_cached), text_tokens(text)))
            summary = compaction.compaction_block(text, self._signer)
            if asked.get("pause_after_compaction"):
                only = Finished([Part(summary)], "compaction")
                return self._sent(request, only, Accounts(CacheUse(), written, iterations=True), prompt)
            request = compaction.compacted(request, summary)
            segments = segments_of(request)
        reply = fault.reply if isinstance(fault, Instead) else await reply_of(self._model, request)
        if isinstance(reply, Verbatim):
            return reply
        use = self._cache.use(segments, traits.least_cached)
        room = _room(request, traits, use.total, fault)
        finished = finish(reply, request, room, self._signer, thinking=thinking_is_on(request, traits))
        if summary is not None:
            finished = replace(finished, parts=[Part(summary), *finished.parts])
        accounts = Accounts(use, written, reply.server_tool_use, reply.usage, iterations=asked is not None)
        return self._sent(request, finished, accounts, prompt)

    def _sent(self, request: Request, finished: Finished, accounts: Accounts, prompt: Prompt) -> Answered:
        message = message_of(request, finished, accounts.usage(finished), prompt.applied)
        if prompt.dropped is not None:
            message["input_transformations"] = list(prompt.dropped)
        if traits_of(request.model).binds_thinking:
            self._binding.bind(prompt.asked, message["content"])
        if finished.stop_reason == "pause_turn":
            last = request.messages[-1]
            # A turn that is paused again goes back with what it had before.
            before = [dict(block.data) for block in last.blocks] if last.role == "assistant" else []
            self._paused[_print_of([*before, *message["content"]])] = None
            while len(self._paused) > _MOST_PAUSED:
                self._paused.popitem(last=False)
        return Answered(message, finished.parts)


def _room(request: Request, traits: Traits, prompt_tokens: int, fault: Fault | None) -> Room:
    room = Room(request.max_tokens)
    if isinstance(fault, CutShort) and fault.tokens < room.tokens:
        room = Room(fault.tokens)
    left = traits.window - prompt_tokens
    return room if room.tokens <= left else Room(left, "model_context_window_exceeded")


def _total(segments: Sequence[Segment]) -> int:
    return sum(segment.tokens for segment in segments)


def _print_of(content: Sequence[Json]) -> str:
    """Content by which a paused turn is known again, whatever marks and empty fields a client added."""
    plain = [{k: v for k, v in block.items() if v is not None and k != "cache_control"} for block in content]
    return compact_json(sorted(map(compact_json, map(_ordered, plain))))


def _ordered(block: Json) -> Json:
    return dict(sorted(block.items()))
