"""A researcher's life: news, a model call, the tools it asks for, and again; every step in the log before the next.

Nothing is remembered outside the log, so that a controller killed anywhere is followed by one that goes on from there:
a turn that was paid for is never asked for again, and an effect that was recorded never happens twice.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import anyio

from aar.errors import GatewayError, LimitReached, ModelUnavailable, SandboxError, SandboxUnavailable
from aar.events import LimitHit, MessageAdded
from aar.researcher.context import Outcome, ResearcherContext, Stopping
from aar.researcher.gateway import PromptTooLong
from aar.researcher.journal import Journal, open_journal
from aar.researcher.prompts import NUDGE, system_prompt
from aar.researcher.refusals import ConversationRefused
from aar.researcher.tools.toolbox import answer_calls
from aar.researcher.turns import take_turn
from aar.researcher.upkeep import keep_context_small, open_conversation, tell_of_the_end, text_block

_LONGEST_BREATH = 60.0
_VOIDS_TO_FALL_BACK, _VOIDS_TO_SET_ASIDE = 3, 4
"""Refused or empty replies in a row, after which the fallback is asked once, and a fresh conversation begun."""


async def run_researcher(ctx: ResearcherContext) -> Outcome:
    """Work until finished, paused, out of budget, or unable to go on.

    Raises:
        DatabaseError: the log cannot be written; nothing further was done.
    """
    journal = await open_journal(ctx.db, ctx.campaign_id, ctx.researcher_id)
    try:
        return await _work(ctx, journal)
    except Stopping:
        return Outcome("paused", "pause asked for")
    except LimitReached as error:
        breach = error.breach
        await journal.record(
            LimitHit(
                scope=breach.scope,
                limit=breach.limit,
                ceiling=breach.ceiling,
                committed=breach.committed,
                asked=breach.asked,
            )
        )
        return Outcome("limit", str(error))
    except (GatewayError, SandboxError, SandboxUnavailable) as error:
        return Outcome("failed", str(error))
    finally:
        with anyio.CancelScope(shield=True):
            await journal.flush()


@dataclass(slots=True)
class _Strain:
    """What went wrong in a row: model calls that failed, turns that achieved nothing, replies that were refused or
    empty."""

    failed_calls: int = 0
    barren_turns: int = 0
    voids: int = 0


async def _work(ctx: ResearcherContext, journal: Journal) -> Outcome:
    talk, strain, system = journal.conversation, _Strain(), system_prompt(ctx)
    if not talk.messages:
        await open_conversation(journal)
    while talk.finished is None:
        if ctx.stopping.is_set() and not journal.announced:
            raise Stopping
        if talk.pending:
            done = await answer_calls(ctx, journal)
            strain.barren_turns = 0 if done else strain.barren_turns + 1
        elif strain.voids > ctx.patience:
            what = "refused" if talk.last_stop == "refusal" else "empty"
            return Outcome("failed", f"{strain.voids} replies in a row were {what}")
        elif strain.barren_turns > ctx.patience:
            return Outcome("failed", f"{strain.barren_turns} turns in a row achieved nothing")
        elif not talk.awaits_model:
            strain.barren_turns += 1
            await journal.record(MessageAdded(reason="nudge", content=[text_block(NUDGE)]))
        else:
            turns = talk.turns
            await _next_turn(ctx, journal, system, strain)
            if talk.turns > turns:
                await _take_stock(ctx, journal, strain)
    return Outcome("finished", talk.finished)


async def _take_stock(ctx: ResearcherContext, journal: Journal, strain: _Strain) -> None:
    """Give a model time that refused or said nothing, and then another conversation: what it stumbles over is in it."""
    talk = journal.conversation
    if talk.last_stop == "pause_turn":
        strain.barren_turns += 1
    strain.voids = strain.voids + 1 if talk.void else 0
    if not 0 < strain.voids <= ctx.patience:
        return
    await ctx.pause(min(_LONGEST_BREATH, 2.0 ** (strain.voids - 1)) * random.uniform(0.5, 1.0))  # noqa: S311
    if strain.voids == _VOIDS_TO_SET_ASIDE:
        await keep_context_small(ctx, journal, now=f"{strain.voids} replies in a row were refused or empty")


async def _next_turn(ctx: ResearcherContext, journal: Journal, system: tuple[str, str], strain: _Strain) -> None:
    told = journal.conversation.last_stop != "pause_turn"
    if told:
        await tell_of_the_end(ctx, journal)
        await keep_context_small(ctx, journal)
    try:
        await take_turn(ctx, journal, system, with_news=told, by_fallback=strain.voids == _VOIDS_TO_FALL_BACK)
        strain.failed_calls = 0
    except PromptTooLong as error:
        strain.failed_calls += 1
        if strain.failed_calls > 1:
            raise
        refused = isinstance(error, ConversationRefused)
        await keep_context_small(ctx, journal, now="refused by the service" if refused else "too long for the model")
    except ModelUnavailable:
        strain.failed_calls += 1
        if strain.failed_calls >= ctx.patience:
            raise
        await ctx.pause(min(_LONGEST_BREATH, 2.0**strain.failed_calls) * random.uniform(0.5, 1.0))  # noqa: S311
