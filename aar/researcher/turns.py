"""One model call: reserved before it is made, settled in the transaction that records its turn."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import anyio
from sqlalchemy.orm import Session

from aar.budget.usage import Usage, usage_of
from aar.errors import AarError
from aar.events import AnyEvent, ModelCalled, ModelCallFailed, TurnReceived
from aar.researcher.context import ResearcherContext, Stopping
from aar.researcher.estimate import FIXED_TOKENS, most_tokens
from aar.researcher.gateway import CallRequest, StreamBroken
from aar.researcher.journal import Journal
from aar.researcher.reserving import reserve
from aar.researcher.tools.definitions import tool_definitions

if TYPE_CHECKING:
    from anthropic.types import Message


def request_of(ctx: ResearcherContext, journal: Journal, system: str) -> CallRequest:
    """The next call: a prefix that never changes within a conversation, then the messages."""
    block = {"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}
    messages = journal.conversation.request_messages()
    return CallRequest(ctx.model, [block], tool_definitions(), messages, ctx.max_output_tokens, encoder=journal.encoder)


async def take_turn(ctx: ResearcherContext, journal: Journal, system: str) -> None:
    """Make one call and record its turn.

    Args:
        system: the system prompt.

    Raises:
        LimitReached: the worst case does not fit; nothing was called.
        Stopping: a pause was asked for while waiting to try again; nothing is owed.
        StreamBroken: the call was charged at its worst case, and there is no turn.
        GatewayError: the call failed for good and was not charged.
    """
    talk = journal.conversation
    request = request_of(ctx, journal, system)
    input_bound = talk.most_prompt_tokens(_stable_tokens(system))
    request_id = await reserve(ctx, input_bound)
    started = time.monotonic()
    worst = Usage(cache_write_5m_tokens=input_bound, output_tokens=request.max_tokens)

    async def charge(usage: Usage, error: str) -> None:
        def settle(session: Session) -> Sequence[AnyEvent]:
            ctx.ledger.settle_in(session, request_id, usage, time.monotonic() - started)
            return [ModelCallFailed(request_id=request_id, error=error)]

        with anyio.CancelScope(shield=True):
            await journal.write(settle)

    await journal.record(ModelCalled(request_id=request_id, model=ctx.model))
    try:
        message = await ctx.gateway.complete(request, pause=ctx.pause)
    except StreamBroken as error:
        await charge(seen_usage(error.usage, worst), error.message)
        raise
    except (AarError, Stopping) as error:
        await ctx.ledger.release(request_id)
        await journal.record(ModelCallFailed(request_id=request_id, error=str(error) or "pause asked for"))
        raise
    except BaseException:
        await charge(worst, "cut off")
        raise

    def receive(session: Session) -> Sequence[AnyEvent]:
        usage = usage_of(message)
        usd = ctx.ledger.settle_in(session, request_id, usage, time.monotonic() - started)
        return [_turn(request_id, message, usage, usd)]

    with anyio.CancelScope(shield=True):
        await journal.write(receive)


def _turn(request_id: str, message: Message, usage: Usage, usd: Any) -> TurnReceived:
    return TurnReceived(
        request_id=request_id,
        model=message.model,
        content=[block.to_dict(mode="json") for block in message.content],
        stop_reason=message.stop_reason or "end_turn",
        output_tokens=usage.output_tokens,
        usd=usd,
        prompt_tokens=usage.tier_tokens,
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


@lru_cache(maxsize=64)
def _stable_tokens(system: str) -> int:
    return FIXED_TOKENS + most_tokens([{"type": "text", "text": system}, *tool_definitions()])
