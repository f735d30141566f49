"""Reserves a model call's worst case; waits if only unsettled reservations block it.

A worst case is several times the usual cost of a call. Near a limit, the reservations of a few calls under way can fill
the rest for a minute, so a refusal that their settlement may lift is waited out.
"""

from __future__ import annotations

import time
import uuid

from sqlalchemy.orm import Session

from aar.budget.totals import read_totals
from aar.errors import LimitBreach, LimitReached
from aar.events import MessageAdded, ModelCalled
from aar.researcher.context import ResearcherContext
from aar.researcher.conversation_log import ConversationLog
from aar.researcher.news_message import build_news_message

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
