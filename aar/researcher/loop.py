"""The agent loop of a researcher: news, model call, tool calls, and again.

Each step is logged before the next.

No state exists outside the log, so that after a kill anywhere the next controller continues from there: a paid turn is
never requested again, and a recorded effect never happens twice.
"""

from __future__ import annotations

import json
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import anyio

from aar.concurrency import best_effort, log_failure
from aar.errors import (
    BackendAway,
    GatewayError,
    LimitReached,
    ModelUnavailable,
    SandboxError,
    SandboxUnavailable,
    StillInUse,
)
from aar.events import LimitHit, MessageAdded
from aar.llm.api_errors import ConversationRejected, ServicePausing, ServiceUnreachable, StreamInterrupted
from aar.llm.content import INVALID_INPUT, REASONING_BLOCK_TYPES, ToolCall
from aar.llm.gateway import PromptTooLong
from aar.researcher.context import ResearcherContext, ResearcherOutcome, StopRequested
from aar.researcher.context_management import announce_end, limit_context, start_conversation, text_block
from aar.researcher.conversation import Conversation, ConversationLog, open_conversation_log
from aar.researcher.prompts import NUDGE, system_prompt
from aar.researcher.tools.executor import execute_calls
from aar.researcher.turn import take_turn

_MAX_BACKOFF_SECONDS = 60.0
_ODD_TO_FALL_BACK, _ODD_TO_SET_ASIDE = 3, 4
"""Odd replies in a row after which the fallback is called once, and a fresh conversation begins."""
_QUICK_SECONDS = 2.0
"""A repeated turn counts as a repetition only if its tools took less time: waiting is no fault."""
_COMPARED_TURNS = 4
_FEWEST_TRIES = 3
"""Least attempts of a call whose stream breaks before its researcher stops: one long attempt may use up all of the
patience."""


async def run_researcher(ctx: ResearcherContext) -> ResearcherOutcome:
    """Run a researcher until it finishes, pauses, runs out of budget, or cannot continue.

    Raises:
        DatabaseError: the log cannot be written; no further work was done.
        StillInUse: leftovers of its earlier sandbox are in use.
    """
    # A call whose end could not be recorded during a database outage must not block the budget for long.
    await ctx.ledger.write_off(ctx.researcher_id)
    log = await open_conversation_log(ctx.db, ctx.campaign_id, ctx.researcher_id)
    try:
        return await _work(ctx, log)
    except StopRequested:
        return ResearcherOutcome("paused", "pause asked for")
    except LimitReached as error:
        breach = error.breach
        await log.record(
            LimitHit(
                scope=breach.scope,
                limit=breach.limit,
                ceiling=breach.ceiling,
                committed=breach.committed,
                asked=breach.asked,
            )
        )
        return ResearcherOutcome("limit", str(error))
    except ModelUnavailable as error:
        return ResearcherOutcome(_outcome_of_outage(ctx, log, error), str(error))
    except BackendAway as error:
        return ResearcherOutcome("away", str(error))
    except StillInUse:
        raise
    except (GatewayError, SandboxError, SandboxUnavailable) as error:
        return ResearcherOutcome("failed", str(error))
    finally:
        # If this fails, an answered call counts as one with an unknown effect, and no more.
        with anyio.CancelScope(shield=True):
            await best_effort(log.flush(), log_failure("could not log the last tool results"))


@dataclass(slots=True)
class _TroubleCounts:
    """Counts of failures in a row.

    Args:
        failed_calls: model calls that failed.
        failing_since: start of the first of them.
        paused_before: seconds of pauses that the service had requested by then.
        barren_turns: turns without progress.
        odd_replies: the fault of each of the last replies: refused, empty, unreadable, repeated.
        fell_back: the fallback was called since they began.
        recent: the last turns that used tools, with their results.
    """

    failed_calls: int = 0
    failing_since: float = 0.0
    paused_before: float = 0.0
    barren_turns: int = 0
    odd_replies: list[str] = field(default_factory=list)
    fell_back: bool = False
    recent: deque[str] = field(default_factory=lambda: deque(maxlen=_COMPARED_TURNS))


async def _work(ctx: ResearcherContext, log: ConversationLog) -> ResearcherOutcome:
    conversation, trouble, system = log.conversation, _TroubleCounts(), system_prompt(ctx)
    if not conversation.messages:
        await start_conversation(log)
    while conversation.finished is None:
        if ctx.stopping.is_set() and not log.announced:
            raise StopRequested
        if conversation.pending_calls:
            await _use_tools(ctx, log, trouble)
        elif len(trouble.odd_replies) > ctx.patience:
            what = " or ".join(dict.fromkeys(trouble.odd_replies))
            return ResearcherOutcome("failed", f"{len(trouble.odd_replies)} replies in a row were {what}")
        elif trouble.barren_turns > ctx.patience:
            return ResearcherOutcome("failed", f"{trouble.barren_turns} turns in a row made no progress")
        elif not conversation.awaits_model:
            trouble.barren_turns += 1
            await log.record(MessageAdded(reason="nudge", content=[text_block(NUDGE)]))
        else:
            turns = conversation.turns
            await _next_turn(ctx, log, system, trouble)
            if conversation.turns > turns and not conversation.pending_calls:
                trouble.barren_turns += conversation.last_stop == "pause_turn"
                odd = ("refused" if conversation.last_stop == "refusal" else "empty") if conversation.void else ""
                await _handle_odd_reply(ctx, log, trouble, odd)
    return ResearcherOutcome("finished", conversation.finished)


async def _use_tools(ctx: ResearcherContext, log: ConversationLog, trouble: _TroubleCounts) -> None:
    conversation, began, calls = log.conversation, time.monotonic(), log.conversation.pending_calls
    done = await execute_calls(ctx, log)
    if conversation.pending_calls or conversation.finished is not None:
        return
    odd = ""
    if all(isinstance(call.input, dict) and INVALID_INPUT in call.input for call in calls):
        odd = "unreadable"
    elif time.monotonic() - began < _QUICK_SECONDS and _turn_fingerprint(conversation, calls) in trouble.recent:
        odd = "repeated"
    else:
        trouble.recent.append(_turn_fingerprint(conversation, calls))
    trouble.barren_turns = 0 if done and not odd else trouble.barren_turns + 1
    await _handle_odd_reply(ctx, log, trouble, odd)


def _turn_fingerprint(conversation: Conversation, calls: Sequence[ToolCall]) -> str:
    """Return a fingerprint of a turn's content, calls and results, without call ids."""
    turn, results = conversation.messages[-2]["content"], conversation.messages[-1]["content"]
    texts = [block.get("text") for block in turn if block.get("type") not in {*REASONING_BLOCK_TYPES, "tool_use"}]
    calls_made = [(call.name, call.input) for call in calls]
    shown = [block.get("content") for block in results if block.get("type") == "tool_result"]
    return json.dumps([texts, calls_made, shown], sort_keys=True)


async def _handle_odd_reply(ctx: ResearcherContext, log: ConversationLog, trouble: _TroubleCounts, odd: str) -> None:
    """Wait after an odd reply, and later start a fresh conversation.

    The cause is in the current conversation.

    Args:
        odd: the fault of the last reply; empty if it had none.
    """
    if not odd:
        # The fallback's good reply proves nothing about the model of the next call.
        if not log.conversation.by_fallback:
            trouble.odd_replies, trouble.fell_back = [], False
        return
    trouble.odd_replies.append(odd)
    count = len(trouble.odd_replies)
    if count > ctx.patience:
        return
    await ctx.pause(min(_MAX_BACKOFF_SECONDS, 2.0 ** (count - 1)) * random.uniform(0.5, 1.0))  # noqa: S311
    if count == _ODD_TO_SET_ASIDE:
        what = " or ".join(dict.fromkeys(trouble.odd_replies))
        await limit_context(ctx, log, now=f"{count} replies in a row were {what}")


def _outcome_of_outage(
    ctx: ResearcherContext, log: ConversationLog, error: ModelUnavailable
) -> Literal["away", "failed"]:
    """Return ``away`` for an outage, or ``failed`` if the service never answered."""
    known = ctx.gateway.outages.has_ever_answered or log.conversation.turns
    return "failed" if isinstance(error, ServiceUnreachable) and not known else "away"


async def _next_turn(
    ctx: ResearcherContext, log: ConversationLog, system: tuple[str, str], trouble: _TroubleCounts
) -> None:
    with_news = log.conversation.last_stop != "pause_turn"
    if with_news:
        await announce_end(ctx, log)
        await limit_context(ctx, log)
    by_fallback = len(trouble.odd_replies) == _ODD_TO_FALL_BACK and not trouble.fell_back
    trouble.fell_back |= by_fallback
    began = time.monotonic()
    try:
        await take_turn(ctx, log, system, with_news=with_news, by_fallback=by_fallback)
        trouble.failed_calls = 0
    except PromptTooLong as error:
        trouble.failed_calls += 1
        if trouble.failed_calls > 1:
            raise
        refused = isinstance(error, ConversationRejected)
        await limit_context(ctx, log, now="refused by the service" if refused else "too long for the model")
    except ModelUnavailable as error:
        if trouble.failed_calls == 0:
            trouble.failing_since, trouble.paused_before = began, ctx.gateway.limiter.paused_seconds
        trouble.failed_calls += 1
        # The gateway used its patience; only a broken stream, or replies to other researchers, justify a new call.
        hopeful = isinstance(error, StreamInterrupted) or ctx.gateway.outages.answered_at > began
        if isinstance(error, ServicePausing) or not hopeful:
            raise
        # Each broken stream may be billed: wait for them no longer than for a service that refuses.
        paused = ctx.gateway.limiter.paused_seconds - trouble.paused_before
        away = time.monotonic() - trouble.failing_since - paused > ctx.gateway.patience_seconds
        away = away and trouble.failed_calls >= _FEWEST_TRIES
        if trouble.failed_calls >= ctx.patience or (away and ctx.gateway.outages.answered_at <= trouble.failing_since):
            if ctx.gateway.outages.answered_at <= trouble.failing_since:
                raise
            cause = f"{trouble.failed_calls} calls in a row failed while others were answered"
            raise GatewayError(f"{cause}: {error.message}", error.remedy) from error
        await ctx.pause(min(_MAX_BACKOFF_SECONDS, 2.0**trouble.failed_calls) * random.uniform(0.5, 1.0))  # noqa: S311
