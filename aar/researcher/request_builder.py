"""Builds a researcher's next model request: a constant prefix, messages, and options.

The prompt cache depends on the order: the tools, the system prompt's part for the whole team, the researcher's own
part, then the messages, oldest first. The four cache breakpoints of a request are after each part of the system prompt
and after the last two user messages.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from aar.llm.request import FIXED_TOKENS, CacheLifetime, ModelRequest, token_upper_bound
from aar.researcher.context import ResearcherContext
from aar.researcher.conversation import ConversationLog, Message, without_thinking
from aar.researcher.tools.definitions import tool_definitions

CLEARED_SHARE = 0.6
"""Old tool results are cleared once the prompt passes this share of the conversation's limit."""
RETAINED_TOOL_USES = 12
_CLEARED_AT_LEAST = 0.25
_EDITING = "context-management-2025-06-27"
_COMPACTING = "compact-2026-01-12"
_SUMMARY = (
    "Summarise this conversation so that the work can continue from the summary alone: the aim, what was tried with "
    "which scores and submissions, what was learned, files and jobs that matter, open questions, and the next step. "
    "/workspace/NOTEBOOK.md holds the lasting notes and need not be repeated."
)
_SUMMARY_TOKENS = 8192
"""More than the summary of a compaction has."""


def build_request(
    ctx: ResearcherContext, log: ConversationLog, system: tuple[str, str], *, model: str | None = None
) -> ModelRequest:
    """Build the next request.

    Args:
        system: the team's and the researcher's own part of the system prompt.
        model: another model than the researcher's own, which does not receive the other's reasoning.
    """
    conversation, own = log.conversation, model is None
    lifetime = _cache_lifetime(ctx, log)
    messages: list[Message] = conversation.request_messages(lifetime)
    extra, betas = _options(ctx) if own else ({}, ())
    return ModelRequest(
        model=model or ctx.model,
        system=[{"type": "text", "text": part, "cache_control": _cached(lifetime)} for part in system],
        tools=tool_definitions(),
        messages=messages if own else without_thinking(messages),
        max_tokens=ctx.max_output_tokens,
        extra=extra,
        betas=betas,
        encoder=log.encoder,
    )


def _cache_lifetime(ctx: ResearcherContext, log: ConversationLog) -> CacheLifetime:
    """Return the lifetime of the request's cache entries."""
    if ctx.options.cache != "auto":
        return ctx.options.cache
    conversation = log.conversation
    new = conversation.prompt_tokens // max(conversation.turns, 1)
    return log.cache_ttl.choose_lifetime(conversation.prompt_tokens, new)


def worst_case_tokens(
    ctx: ResearcherContext, log: ConversationLog, system: tuple[str, str], request: ModelRequest
) -> tuple[int, int]:
    """Return upper bounds of a call's tokens, including a compaction before it.

    One bound is for the prompt, the other for the output.
    """
    own = request.model == ctx.model
    bound = log.conversation.max_prompt_tokens(_stable_tokens(system), own=own)
    if request.may_compact and bound > ctx.context_tokens:
        return 2 * bound + _SUMMARY_TOKENS, ctx.max_output_tokens + _SUMMARY_TOKENS
    return bound, ctx.max_output_tokens


def service_manages_context(ctx: ResearcherContext) -> bool:
    """Return whether the service bounds the conversation.

    Then a fresh one is needed only if the service refuses it.
    """
    return ctx.options.context != "local" and ctx.capabilities.compaction


def _options(ctx: ResearcherContext) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the request's further parameters, and the betas that they need."""
    extra: dict[str, Any] = {}
    edits: list[dict[str, Any]] = []
    betas: tuple[str, ...] = ()
    if ctx.options.thinking == "auto" and ctx.capabilities.adaptive_thinking:
        extra["thinking"] = {"type": "adaptive"}
    if ctx.options.effort is not None and ctx.capabilities.effort:
        extra["output_config"] = {"effort": ctx.options.effort}
    if ctx.options.context == "clear" and ctx.capabilities.clear_tool_uses:
        edits.append(
            {
                "type": "clear_tool_uses_20250919",
                "trigger": _tokens(CLEARED_SHARE * ctx.context_tokens),
                "keep": {"type": "tool_uses", "value": RETAINED_TOOL_USES},
                "clear_at_least": _tokens(_CLEARED_AT_LEAST * ctx.context_tokens),
            }
        )
        betas += (_EDITING,)
    if service_manages_context(ctx):
        edits.append({"type": "compact_20260112", "trigger": _tokens(ctx.context_tokens), "instructions": _SUMMARY})
        betas += (_COMPACTING,)
    if edits:
        extra["context_management"] = {"edits": edits}
    return extra, betas


def _tokens(value: float) -> dict[str, Any]:
    return {"type": "input_tokens", "value": int(value)}


@lru_cache(maxsize=2)
def _cached(lifetime: CacheLifetime) -> dict[str, str]:
    return {"type": "ephemeral", "ttl": lifetime}


@lru_cache(maxsize=64)
def _stable_tokens(system: tuple[str, str]) -> int:
    blocks = [{"type": "text", "text": part} for part in system]
    return FIXED_TOKENS + token_upper_bound([*blocks, *tool_definitions()])
