"""Manages a conversation between turns: announces the end, replaces a long conversation."""

from __future__ import annotations

from aar.errors import SandboxError, SandboxGone, is_transient
from aar.events import ContextReset, MessageAdded
from aar.llm.content import ContentBlock
from aar.llm.request import token_upper_bound
from aar.researcher.context import ResearcherContext
from aar.researcher.conversation import Conversation, ConversationLog
from aar.researcher.prompts import CONTEXT_WARNING, OPENING, handover_notice, landing_notice
from aar.researcher.request_builder import service_manages_context

NOTEBOOK = "/workspace/NOTEBOOK.md"
_NOTEBOOK_CHARACTERS = 24_000
_KEPT_TURNS = 6
_WARN_AT = 0.8
_BYTES_PER_TOKEN = 3
_SERVED_SLACK = 1.5
"""A service that summarises old context itself gets this much more room before it is done here after all."""


def text_block(text: str) -> ContentBlock:
    """A text block of a message."""
    return {"type": "text", "text": text}


async def start_conversation(log: ConversationLog) -> None:
    """Add the opening message."""
    await log.record(MessageAdded(reason="opening", content=[text_block(OPENING)]))


async def announce_end(ctx: ResearcherContext, log: ConversationLog) -> None:
    """Ask a researcher, once, to write up while there is still budget for it."""
    if log.conversation.landing:
        return
    near = await ctx.approaching_limit()
    if near is not None:
        await log.record(MessageAdded(reason="landing", content=[text_block(landing_notice(near))]))


async def limit_context(ctx: ResearcherContext, log: ConversationLog, *, now: str = "") -> None:
    """Warn a researcher near its conversation's limit; start a fresh conversation above it.

    Args:
        now: the reason to start a fresh one at once, without the last turns.
    """
    conversation = log.conversation
    size = context_size(conversation)
    served = service_manages_context(ctx)
    bound = _SERVED_SLACK * ctx.context_tokens if served else ctx.context_tokens
    if now or size > bound:
        await log.flush()  # reading the notebook may need a new sandbox
        recent = conversation.recent_turns(_KEPT_TURNS, ctx.context_tokens // 4 * _BYTES_PER_TOKEN)
        content = [text_block(OPENING), text_block(handover_notice(await _notebook(ctx)))]
        reason = now or f"over {ctx.context_tokens} tokens"
        await log.record(ContextReset(reason=reason, content=content, kept_turns=0 if now else recent))
    elif size > _WARN_AT * bound and not served and not conversation.warned:
        await log.record(MessageAdded(reason="context", content=[text_block(CONTEXT_WARNING)]))


def context_size(conversation: Conversation) -> int:
    """Return the size of the next prompt in tokens.

    The service counted it, or else it is estimated from bytes.
    """
    if conversation.prompt_tokens:
        return conversation.prompt_tokens + conversation.output_tokens
    return token_upper_bound(conversation.messages) // _BYTES_PER_TOKEN


async def _notebook(ctx: ResearcherContext, tries: int = 3) -> str:
    sandbox = await ctx.sandbox.current()
    try:
        text = (await sandbox.read(NOTEBOOK)).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except SandboxGone as error:
        await ctx.sandbox.lost(error.message)
        return await _notebook(ctx, tries - 1) if tries else "(it cannot be read: the sandbox ended)"
    except SandboxError as error:
        return f"(it cannot be read: {error})"
    except OSError as error:
        if is_transient(error):
            raise
        return f"(it cannot be read: {error.strerror})"
    if len(text) <= _NOTEBOOK_CHARACTERS:
        return text
    return "[its beginning is left out]\n" + text[-_NOTEBOOK_CHARACTERS:]
