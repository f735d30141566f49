"""Computes the charge of a model call from the service's reported usage."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.orm import Session

from aar.budget.ledger import Ledger
from aar.events import UsageDoubted
from aar.llm.api_errors import StreamInterrupted
from aar.llm.pricing.usage import CallBill, Usage
from aar.llm.request.model_request import ModelRequest
from aar.llm.response.message_accumulator import CompleteReply
from aar.store.event_log import read_events

_KINDS = ("usage_doubted",)
_MOST_CAUSES = 1000


def bill_for_reply(ledger: Ledger, request: ModelRequest, reply: CompleteReply) -> CallBill:
    """Return the charge of a complete reply."""
    bill = reply.reported.bill(asked=request.model, model=reply.model, content=bool(reply.content))
    return _with_price_doubts(ledger, request, bill)


def bill_for_partial_reply(ledger: Ledger, request: ModelRequest, broken: StreamInterrupted, worst: Usage) -> CallBill:
    """Return the charge of a reply that broke off.

    Args:
        worst: the most that it can have used.
    """
    bill = broken.reported.bill_partial(worst, asked=request.model, model=broken.model)
    return _with_price_doubts(ledger, request, replace(bill, usage=bill.at_least(worst)))


def doubt_events(
    session: Session, campaign_id: str, researcher_id: str | None, request_id: str, bill: CallBill
) -> list[UsageDoubted]:
    """Build the events for doubtful bills, once for each cause and researcher."""
    if not bill.doubts:
        return []
    told = {
        logged.event.cause
        for logged in read_events(session, campaign_id, limit=_MOST_CAUSES, researcher_id=researcher_id, kinds=_KINDS)
        if isinstance(logged.event, UsageDoubted) and logged.researcher_id == researcher_id
    }
    return [UsageDoubted(request_id=request_id, cause=cause) for cause in bill.doubts if cause not in told]


def _with_price_doubts(ledger: Ledger, request: ModelRequest, bill: CallBill) -> CallBill:
    return replace(bill, doubts=(*bill.doubts, *ledger.doubts(request.model, bill.served)))
