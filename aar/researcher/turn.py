"""One turn's model call: reserved before, settled with the turn's record.

Both are in one transaction.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

import anyio
from sqlalchemy.orm import Session

from aar.budget.ledger import Bill, WorstCase
from aar.budget.limits import CAMPAIGN
from aar.budget.totals import read_totals
from aar.errors import AarError, DatabaseError, LimitBreach, LimitReached, ModelUnavailable, is_transient
from aar.events import AnyEvent, BlockBegun, MessageAdded, ModelCalled, ModelCallFailed, ToolStarted, TurnReceived
from aar.forum.news import news_since
from aar.llm.api_errors import ModelNotFound, StreamInterrupted
from aar.llm.concurrency_limiter import waiting_line
from aar.llm.content import with_unique_ids
from aar.llm.gateway import Gateway
from aar.llm.request import ModelRequest
from aar.llm.response import CompleteReply
from aar.researcher.context import ResearcherContext, StopRequested
from aar.researcher.conversation import ConversationLog
from aar.researcher.request_builder import build_request, worst_case_tokens
from aar.researcher.tools.definitions import first_tool_started

_PROGRESS_SECONDS = 2.0
_LONGEST_WAIT = 600.0
"""Seconds that a complete reply waits for an unreachable database, and a refused call for the end of others."""
_POLL_SECONDS = 0.5
_DOING = {"thinking": "thinking", "redacted_thinking": "thinking", "text": "writing", "compaction": "summarising"}
_WAITED_FOR = frozenset({"usd", "tokens"})


async def take_turn(
    ctx: ResearcherContext,
    log: ConversationLog,
    system: tuple[str, str],
    *,
    with_news: bool = False,
    by_fallback: bool = False,
) -> None:
    """Make one call and record its turn.

    If the researcher's own model fails for good, call its fallback.

    Args:
        system: the system prompt's parts.
        with_news: add the news before.
        by_fallback: call the fallback at once, if there is one.

    Raises:
        LimitReached: the worst case does not fit; nothing was called.
        StopRequested: a pause was requested while waiting to try again; nothing was charged.
        StreamInterrupted: the call was charged at its worst case, and there is no turn.
        GatewayError: the call failed for good and was not charged.
    """
    fallback = ctx.fallback
    if not (by_fallback and fallback is not None):
        try:
            if not await _call(ctx, log, system, ctx.gateway, with_news=with_news):
                await _call(ctx, log, system, ctx.gateway)
            return
        except StreamInterrupted:
            raise
        except (ModelUnavailable, ModelNotFound):
            if fallback is None:
                raise
    await _call(ctx, log, system, fallback.gateway, model=fallback.model)


async def _call(
    ctx: ResearcherContext,
    log: ConversationLog,
    system: tuple[str, str],
    gateway: Gateway,
    *,
    model: str | None = None,
    with_news: bool = False,
) -> bool:
    """Make the call.

    Return False if news arrived first: the request must then be rebuilt to include it.

    Args:
        model: another than the researcher's own.
        with_news: add the news first. They change the request, so if there are any, nothing is reserved.
    """
    request = build_request(ctx, log, system, model=model)
    request_id = f"call-{uuid.uuid4().hex}"
    reply: CompleteReply | None = None
    news, cursor = None, log.news_seen

    def begin(session: Session) -> bool:
        nonlocal news, cursor
        if with_news:
            news, cursor = _news_message(session, ctx, log.news_seen)
        log.append_with_buffered(session, news or ModelCalled(request_id=request_id, model=request.model))
        return news is None

    def failed(session: Session, error: BaseException) -> None:
        cause = f"the reply could not be recorded: {type(error).__name__}" if reply is not None else ""
        if isinstance(error, StreamInterrupted) or (not cause and isinstance(error, (AarError, StopRequested))):
            cause = str(error) or "pause asked for"
        cut_off = "cut off" if bill.send_status.sent else "cut off before it was sent"
        log.append_with_buffered(session, ModelCallFailed(request_id=request_id, error=cause or cut_off))

    async def show_wait(tries: int, seconds: float) -> None:
        (ctx.resting.add if seconds > 0 else ctx.resting.discard)(ctx.researcher_id)
        with suppress(DatabaseError):  # it is only for people
            await log.record(BlockBegun(request_id=request_id, doing=waiting_line(tries, seconds)))

    most_input, most_output = worst_case_tokens(ctx, log, system, request)
    async with ctx.ledger.metered(
        WorstCase("model", request.model, most_input, most_output),
        request_id=request_id,
        researcher_id=ctx.researcher_id,
        beside=begin,
        wait=_wait_for_other_calls(ctx, log),
        failed=failed,
    ) as bill:
        log.news_seen = cursor
        if news is not None:
            log.conversation.apply(news)
            return False
        log.cache_ttl.record_call()
        try:
            reply = await gateway.complete(
                request,
                interruptible=ctx.unless_stopping,
                progress=_progress(log, request_id),
                status=bill.send_status,
                waiting=show_wait,
            )
        finally:
            ctx.resting.discard(ctx.researcher_id)
        bill.use(reply)
        await _record(ctx, log, request, reply, bill)
    return True


def _wait_for_other_calls(ctx: ResearcherContext, log: ConversationLog) -> Callable[[LimitReached], Awaitable[None]]:
    """Wait after a refusal if only reservations of calls under way block the call.

    A worst case is several times the usual cost of a call. Near a limit, the reservations of a few calls under way can
    fill the rest for a minute, so a refusal that their settlement may lift is waited out.
    """
    deadline = time.monotonic() + _LONGEST_WAIT

    async def wait(refusal: LimitReached) -> None:
        await log.flush()
        if time.monotonic() > deadline or not await _may_pass(ctx, refusal.breach):
            raise refusal
        await ctx.pause(_POLL_SECONDS)

    return wait


async def _may_pass(ctx: ResearcherContext, breach: LimitBreach) -> bool:
    if breach.limit not in _WAITED_FOR or breach.scope != CAMPAIGN:
        return False
    spent = (await ctx.db.read(lambda session: read_totals(session, ctx.campaign_id))).campaign
    if not spent.reserved_usd:
        return False
    return breach.limit != "usd" or spent.usd + breach.asked <= breach.ceiling


def _news_message(session: Session, ctx: ResearcherContext, seen: int) -> tuple[MessageAdded | None, int]:
    """Return the message with the news of others and of people since an event, if any, and the next cursor."""
    news = news_since(session, ctx.campaign_id, ctx.researcher_id, seen)
    texts = list(news.human_messages)
    if news.lines:
        texts.append("[News from the team; the whole texts are under /forum]\n" + "\n".join(news.lines))
    if not texts:
        return None, news.cursor
    content = [{"type": "text", "text": text} for text in texts]
    return MessageAdded(reason="news", content=content, news_cursor=news.cursor), news.cursor


def _progress(log: ConversationLog, request_id: str) -> Callable[[Mapping[str, Any]], Awaitable[None]]:
    shown = time.monotonic()

    async def show(block: Mapping[str, Any]) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _PROGRESS_SECONDS:
            shown = time.monotonic()
            kind = str(block.get("type"))
            doing = f"calling {block.get('name')}" if kind.endswith("tool_use") else _DOING.get(kind, kind)
            await log.record(BlockBegun(request_id=request_id, doing=doing))

    return show


async def _record(
    ctx: ResearcherContext, log: ConversationLog, request: ModelRequest, reply: CompleteReply, bill: Bill
) -> None:
    """Record a turn with its charge; the reply is paid already, so wait for an unreachable database."""
    content, renamed = with_unique_ids(reply.content, log.conversation.call_ids)
    received = replace(reply, content=content)
    unwritten: Exception | None = None

    def receive(session: Session) -> Sequence[AnyEvent]:
        if unwritten is not None and not bill.is_open_in(session):
            raise unwritten  # it was written, but the confirmation got lost: the log has the turn
        turn = _turn(received, renamed, bill, bill.settle_in(session), called=request.model, own_model=ctx.model)
        begun = None if ctx.stopping.is_set() else first_tool_started(turn)
        return [turn, begun] if begun else [turn]

    with anyio.CancelScope(shield=True):
        pause, deadline = 0.5, time.monotonic() + _LONGEST_WAIT
        while True:
            try:
                written = await log.write(receive)
                break
            except Exception as error:
                if error is unwritten:
                    raise
                if not is_transient(error) or ctx.stopping.is_set() or time.monotonic() > deadline:
                    if isinstance(error, AarError):
                        raise
                    cause = f"the reply could not be recorded: {type(error).__name__}"
                    raise StreamInterrupted(cause, reply.reported, reply.model) from error
                unwritten = error
                with anyio.move_on_after(pause):
                    await ctx.stopping.wait()
                pause = min(2 * pause, 30.0)
    log.announced = {event.tool_use_id for event in written if isinstance(event, ToolStarted)}


def _turn(
    reply: CompleteReply, renamed: dict[str, str], bill: Bill, usd: Decimal, *, called: str, own_model: str
) -> TurnReceived:
    used = bill.usage
    return TurnReceived(
        request_id=bill.request_id,
        model=reply.model or called,
        content=reply.content,
        stop_reason=reply.stop_reason,
        output_tokens=used.output_tokens,
        usd=usd,
        # Implausible figures must not bound later prompts.
        prompt_tokens=0 if bill.doubts else used.tier_tokens,
        cleared_tool_uses=reply.cleared_tool_uses,
        fallback=called != own_model,
        service_ids=renamed,
    )
