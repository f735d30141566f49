"""One model call: reserved before it is made, settled in the transaction that records its turn."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import anyio
from sqlalchemy.orm import Session

from aar.budget.usage import Usage, usage_of
from aar.errors import AarError, DatabaseError, ModelUnavailable
from aar.events import AnyEvent, BlockBegun, ModelCallFailed, ToolStarted, TurnReceived
from aar.researcher.asking import request_of, worst_tokens
from aar.researcher.assembly import Reply
from aar.researcher.call import CallRequest
from aar.researcher.context import ResearcherContext, Stopping
from aar.researcher.gateway import Gateway
from aar.researcher.journal import Journal
from aar.researcher.refusals import ModelMissing, StreamBroken
from aar.researcher.reserving import reserve
from aar.researcher.tools.toolbox import first_started

_PROGRESS_SECONDS = 2.0
_DOING = {"thinking": "thinking", "redacted_thinking": "thinking", "text": "writing", "compaction": "summarising"}


async def take_turn(
    ctx: ResearcherContext, journal: Journal, system: tuple[str, str], *, with_news: bool = False
) -> None:
    """Make one call and record its turn; where the researcher's own model fails for good, its fallback is asked.

    Args:
        system: the system prompt's parts.
        with_news: tell the news before.

    Raises:
        LimitReached: the worst case does not fit; nothing was called.
        Stopping: a pause was asked for while waiting to try again; nothing is owed.
        StreamBroken: the call was charged at its worst case, and there is no turn.
        GatewayError: the call failed for good and was not charged.
    """
    try:
        if not await _call(ctx, journal, system, request_of(ctx, journal, system), ctx.gateway, with_news=with_news):
            await _call(ctx, journal, system, request_of(ctx, journal, system), ctx.gateway)
    except StreamBroken:
        raise
    except (ModelUnavailable, ModelMissing):
        if ctx.fallback is None:
            raise
        other = request_of(ctx, journal, system, model=ctx.fallback.model)
        await _call(ctx, journal, system, other, ctx.fallback.gateway)


async def _call(
    ctx: ResearcherContext,
    journal: Journal,
    system: tuple[str, str],
    request: CallRequest,
    gateway: Gateway,
    *,
    with_news: bool = False,
) -> bool:
    """Whether the call was made; it was not where news came between, which it does not show."""
    most_input, most_output = worst_tokens(ctx, journal, system, request)
    request_id = await reserve(ctx, journal, request.model, most_input, most_output, with_news=with_news)
    if request_id is None:
        return False
    started = time.monotonic()
    worst = Usage(cache_write_1h_tokens=most_input, output_tokens=most_output)

    async def charge(usage: Usage, error: str) -> None:
        def settle(session: Session) -> Sequence[AnyEvent]:
            ctx.ledger.settle_in(session, request_id, usage, time.monotonic() - started)
            return [ModelCallFailed(request_id=request_id, error=error)]

        with anyio.CancelScope(shield=True):
            await journal.write(settle)

    journal.rhythm.called()
    try:
        reply = await gateway.complete(
            request, interruptible=ctx.unless_stopping, progress=_progress(journal, request_id)
        )
    except StreamBroken as error:
        await charge(seen_usage(error.usage, worst), error.message)
        raise
    except DatabaseError as error:  # while the reply came in, whose progress could not be noted: it is billed
        await charge(worst, error.message)
        raise
    except (AarError, Stopping) as error:
        await ctx.ledger.release(request_id)
        await journal.record(ModelCallFailed(request_id=request_id, error=str(error) or "pause asked for"))
        raise
    except BaseException:
        await charge(worst, "cut off")
        raise

    def receive(session: Session) -> Sequence[AnyEvent]:
        usage = usage_of(reply.usage)
        usd = ctx.ledger.settle_in(session, request_id, usage, time.monotonic() - started)
        turn = _turn(request_id, reply, usage, usd, fallback=request.model != ctx.model)
        begun = None if ctx.stopping.is_set() else first_started(turn)
        return [turn, begun] if begun else [turn]

    with anyio.CancelScope(shield=True):
        written = await journal.write(receive)
    journal.announced = {event.tool_use_id for event in written if isinstance(event, ToolStarted)}
    return True


def _progress(journal: Journal, request_id: str) -> Callable[[Mapping[str, Any]], Awaitable[None]]:
    told = time.monotonic()

    async def note(block: Mapping[str, Any]) -> None:
        nonlocal told
        if time.monotonic() - told >= _PROGRESS_SECONDS:
            told = time.monotonic()
            kind = str(block.get("type"))
            doing = f"calling {block.get('name')}" if kind.endswith("tool_use") else _DOING.get(kind, kind)
            await journal.record(BlockBegun(request_id=request_id, doing=doing))

    return note


def _turn(request_id: str, reply: Reply, usage: Usage, usd: Decimal, *, fallback: bool) -> TurnReceived:
    return TurnReceived(
        request_id=request_id,
        model=reply.model,
        content=reply.content,
        stop_reason=reply.stop_reason,
        output_tokens=usage.output_tokens,
        usd=usd,
        prompt_tokens=usage.tier_tokens,
        cleared_tool_uses=reply.cleared_tool_uses,
        fallback=fallback,
    )


def seen_usage(seen: Mapping[str, Any], worst: Usage) -> Usage:
    """What to charge for a broken stream: the prompt as the service counted it if it did, and the longest reply, for
    nobody knows how much was generated unseen."""
    if "input_tokens" not in seen:
        return worst
    created = seen.get("cache_creation") or {}
    written = seen.get("cache_creation_input_tokens") or 0
    long_lived = created.get("ephemeral_1h_input_tokens") or 0
    return Usage(
        input_tokens=seen["input_tokens"] or 0,
        cache_write_5m_tokens=max(written - long_lived, 0),
        cache_write_1h_tokens=long_lived,
        cache_read_tokens=seen.get("cache_read_input_tokens") or 0,
        output_tokens=worst.output_tokens,
    )
