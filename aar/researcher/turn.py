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

from aar.budget.ledger import bill_for_partial_reply, bill_for_reply, doubt_events
from aar.budget.totals import read_totals
from aar.concurrency import best_effort, log_failure
from aar.errors import AarError, DatabaseError, LimitBreach, LimitReached, ModelUnavailable, is_transient
from aar.events import AnyEvent, BlockBegun, MessageAdded, ModelCalled, ModelCallFailed, ToolStarted, TurnReceived
from aar.forum.news import News, news_since
from aar.llm.api_errors import ModelNotFound, StreamInterrupted
from aar.llm.concurrency_limiter import waiting_line
from aar.llm.content import with_unique_ids
from aar.llm.gateway import Gateway
from aar.llm.request import ModelRequest, SendStatus
from aar.llm.response import CompleteReply
from aar.llm.usage import CallBill, Usage
from aar.researcher.context import FallbackModel, ResearcherContext, StopRequested
from aar.researcher.conversation import ConversationLog
from aar.researcher.request_builder import build_request, worst_case_tokens
from aar.researcher.tools.executor import first_tool_started

_PROGRESS_SECONDS = 2.0
_LONGEST_WAIT = 600.0
_DOING = {"thinking": "thinking", "redacted_thinking": "thinking", "text": "writing", "compaction": "summarising"}


async def take_turn(
    ctx: ResearcherContext,
    journal: ConversationLog,
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
        Stopping: a pause was requested while waiting to try again; nothing was charged.
        StreamInterrupted: the call was charged at its worst case, and there is no turn.
        GatewayError: the call failed for good and was not charged.
    """
    if by_fallback and ctx.fallback is not None:
        await _ask_fallback(ctx, ctx.fallback, journal, system)
        return
    try:
        if not await _call(ctx, journal, system, build_request(ctx, journal, system), ctx.gateway, with_news=with_news):
            await _call(ctx, journal, system, build_request(ctx, journal, system), ctx.gateway)
    except StreamInterrupted:
        raise
    except (ModelUnavailable, ModelNotFound):
        if ctx.fallback is None:
            raise
        await _ask_fallback(ctx, ctx.fallback, journal, system)


async def _ask_fallback(
    ctx: ResearcherContext, fallback: FallbackModel, journal: ConversationLog, system: tuple[str, str]
) -> None:
    other = build_request(ctx, journal, system, model=fallback.model)
    await _call(ctx, journal, system, other, fallback.gateway)


async def _call(
    ctx: ResearcherContext,
    journal: ConversationLog,
    system: tuple[str, str],
    request: ModelRequest,
    gateway: Gateway,
    *,
    with_news: bool = False,
) -> bool:
    """Make the call.

    Return False if news arrived first: the request must then be rebuilt to include it.
    """
    most_input, most_output = worst_case_tokens(ctx, journal, system, request)
    request_id = await reserve_call(ctx, journal, request.model, most_input, most_output, with_news=with_news)
    if request_id is None:
        return False
    started, flight = time.monotonic(), SendStatus()
    worst = Usage(cache_write_1h_tokens=most_input, output_tokens=most_output)

    async def charge(bill: CallBill, error: str) -> None:
        """Settle a call that brought no turn."""

        def settle(session: Session) -> Sequence[AnyEvent]:
            ctx.ledger.settle_in(session, request_id, bill, time.monotonic() - started)
            failed = ModelCallFailed(request_id=request_id, error=error)
            return [*doubt_events(session, ctx.campaign_id, ctx.researcher_id, request_id, bill), failed]

        with anyio.CancelScope(shield=True):
            await journal.write(settle)

    async def release(error: str) -> None:
        with anyio.CancelScope(shield=True):
            await ctx.ledger.release(request_id)
            await journal.record(ModelCallFailed(request_id=request_id, error=error))

    async def wait(tries: int, seconds: float) -> None:
        ctx.resting(seconds > 0)
        with suppress(DatabaseError):  # it is only for people
            await journal.record(BlockBegun(request_id=request_id, doing=waiting_line(tries, seconds)))

    journal.rhythm.record_call()
    try:
        reply = await gateway.complete(
            request,
            interruptible=ctx.unless_stopping,
            progress=_progress(journal, request_id),
            flight=flight,
            waiting=wait,
        )
    except StreamInterrupted as error:
        await charge(bill_for_partial_reply(ctx.ledger, request, error, worst), error.message)
        raise
    except DatabaseError as error:  # while the reply arrived and its progress could not be recorded: it is billed
        await charge(CallBill(worst, unknown=True), error.message)
        raise
    except (AarError, StopRequested) as error:
        await release(str(error) or "pause asked for")
        raise
    except BaseException:
        # An unrecorded call is charged at its worst case: see Ledger.write_off.
        booked = (
            charge(CallBill(worst, unknown=True), "cut off") if flight.sent else release("cut off before it was sent")
        )
        await best_effort(booked, log_failure("could not record a call that was cut off"))
        raise
    finally:
        ctx.resting(False)

    bill = bill_for_reply(ctx.ledger, request, reply)
    used = bill.at_least(worst)
    content, renamed = with_unique_ids(reply.content, journal.conversation.call_ids)
    taken_in = replace(reply, content=content)

    unwritten: Exception | None = None

    def receive(session: Session) -> Sequence[AnyEvent]:
        if unwritten is not None and not ctx.ledger.is_open_in(session, request_id):
            raise unwritten  # it was written, but the confirmation got lost: the log has the turn
        usd = ctx.ledger.settle_in(session, request_id, replace(bill, usage=used), time.monotonic() - started)
        counted = not bill.doubts
        turn = _turn(request_id, taken_in, renamed, used, usd, counted=counted, asked=request.model, own=ctx.model)
        begun = None if ctx.stopping.is_set() else first_tool_started(turn)
        told = doubt_events(session, ctx.campaign_id, ctx.researcher_id, request_id, bill)
        return [*told, turn, begun] if begun else [*told, turn]

    with anyio.CancelScope(shield=True):
        try:
            patience = _Patience(ctx)
            while True:
                try:
                    written = await journal.write(receive)
                    break
                except Exception as error:
                    if error is unwritten or not await patience.lets_wait(error):
                        raise
                    unwritten = error
        except Exception as error:
            if error is unwritten:
                raise
            # Nothing of it was written; its cost is recorded for any reply.
            said = f"the reply could not be recorded: {type(error).__name__}"
            await charge(replace(bill, usage=used), said)
            if isinstance(error, AarError):
                raise
            raise StreamInterrupted(said, reply.reported, reply.model) from error
    journal.announced = {event.tool_use_id for event in written if isinstance(event, ToolStarted)}
    return True


class _Patience:
    """Limits a complete reply's wait for an unreachable database.

    The reply is paid already.
    """

    def __init__(self, ctx: ResearcherContext) -> None:
        self._stopping = ctx.stopping
        self._until = time.monotonic() + _LONGEST_WAIT
        self._pause = 0.5

    async def lets_wait(self, error: Exception) -> bool:
        """Wait before the next try; return whether there is one."""
        if not is_transient(error) or self._stopping.is_set() or time.monotonic() > self._until:
            return False
        with anyio.move_on_after(self._pause):
            await self._stopping.wait()
        self._pause = min(2 * self._pause, 30.0)
        return True


def _progress(journal: ConversationLog, request_id: str) -> Callable[[Mapping[str, Any]], Awaitable[None]]:
    told = time.monotonic()

    async def note(block: Mapping[str, Any]) -> None:
        nonlocal told
        if time.monotonic() - told >= _PROGRESS_SECONDS:
            told = time.monotonic()
            kind = str(block.get("type"))
            doing = f"calling {block.get('name')}" if kind.endswith("tool_use") else _DOING.get(kind, kind)
            await journal.record(BlockBegun(request_id=request_id, doing=doing))

    return note


def _turn(
    request_id: str,
    reply: CompleteReply,
    renamed: dict[str, str],
    used: Usage,
    usd: Decimal,
    *,
    counted: bool,
    asked: str,
    own: str,
) -> TurnReceived:
    return TurnReceived(
        request_id=request_id,
        model=reply.model or asked,
        content=reply.content,
        stop_reason=reply.stop_reason,
        output_tokens=used.output_tokens,
        usd=usd,
        # Implausible figures must not bound later prompts.
        prompt_tokens=used.tier_tokens if counted else 0,
        cleared_tool_uses=reply.cleared_tool_uses,
        fallback=asked != own,
        service_ids=renamed,
    )


_WAITED_FOR = frozenset({"usd", "tokens"})
_LONGEST_SECONDS = 600.0
_POLL_SECONDS = 0.5


async def reserve_call(
    ctx: ResearcherContext,
    journal: ConversationLog,
    model: str,
    input_tokens: int,
    output_tokens: int,
    *,
    with_news: bool = False,
) -> str | None:
    """Reserve one call; log buffered events and its start in the same transaction.

    It waits if only unsettled reservations block it. A worst case is several times the usual cost of a call. Near a
    limit, the reservations of a few calls under way can fill the rest for a minute, so a refusal that their settlement
    may lift is waited out.

    Args:
        input_tokens, output_tokens: upper bounds of its prompt's and its reply's tokens.
        with_news: add the news first. They change the request, so if there are any, nothing is reserved.

    Returns:
        The request id of the reservation; None if there were news.

    Raises:
        LimitReached: the worst case does not fit, even if the calls under way cost nothing.
        Stopping: a pause was requested while waiting.
    """
    request_id = f"call-{uuid.uuid4().hex}"
    called = ModelCalled(request_id=request_id, model=model)
    news: MessageAdded | None = None
    cursor = journal.news_seen

    def beside(session: Session) -> bool:
        nonlocal news, cursor
        if with_news:
            news, cursor = build_news_message(session, ctx.campaign_id, ctx.researcher_id, journal.news_seen)
        journal.append_with_buffered(session, called if news is None else news)
        return news is None

    deadline = time.monotonic() + _LONGEST_SECONDS
    while True:
        try:
            reservation = await ctx.ledger.reserve_call(
                request_id=request_id,
                researcher_id=ctx.researcher_id,
                model=model,
                input_tokens=input_tokens,
                max_output_tokens=output_tokens,
                beside=beside,
            )
        except LimitReached as error:
            await journal.flush()
            if time.monotonic() > deadline or not await _may_pass(ctx, error.breach):
                raise
            await ctx.pause(_POLL_SECONDS)
        else:
            journal.news_seen = cursor
            if news is not None:
                journal.conversation.apply(news)
            return request_id if reservation else None


async def _may_pass(ctx: ResearcherContext, breach: LimitBreach) -> bool:
    """Return whether reservations of calls under way block the new one."""
    if breach.limit not in _WAITED_FOR or breach.scope != "campaign":
        return False
    spent = (await ctx.db.read(lambda session: read_totals(session, ctx.campaign_id))).campaign
    if not spent.reserved_usd:
        return False
    return breach.limit != "usd" or spent.usd + breach.asked <= breach.ceiling


def build_news_message(
    session: Session, campaign_id: str, researcher_id: str, seen: int
) -> tuple[MessageAdded | None, int]:
    """Build the news message since an event.

    Args:
        seen: the cursor of the last call.

    Returns:
        The message, if there is any news, and the next cursor.
    """
    news = news_since(session, campaign_id, researcher_id, seen)
    if not news.lines and not news.human_messages:
        return None, news.cursor
    content = [{"type": "text", "text": told} for told in _texts(news)]
    return MessageAdded(reason="news", content=content, news_cursor=news.cursor), news.cursor


def _texts(news: News) -> list[str]:
    texts = list(news.human_messages)
    if news.lines:
        texts.append("[News from the team; the whole texts are under /forum]\n" + "\n".join(news.lines))
    return texts
