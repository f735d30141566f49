"""The reviewer audit: a model reads a method's frozen code against a rubric.

The rubric is the same for every review, so the service has it in its prompt cache; the method is in the one
message after it, as untrusted text. The answer is a forced tool call, and its quotes are checked against the code.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

import anyio
import anyio.to_thread
from sqlalchemy.orm import Session

from aar.budget.ledger import Ledger, bill_for_partial_reply, bill_for_reply, doubt_events
from aar.concurrency import best_effort, log_failure
from aar.errors import AarError, DatabaseError, GatewayError, LimitReached, SetupError, UsageError
from aar.llm.api_errors import StreamInterrupted
from aar.llm.content import TRUNCATED_STOP_REASONS
from aar.llm.gateway import Gateway
from aar.llm.request import FIXED_TOKENS, ModelRequest, SendStatus, token_upper_bound
from aar.llm.response import CompleteReply
from aar.llm.usage import CallBill, Usage
from aar.problems.protocol import Problem
from aar.scoring.audits.protocol import AuditInput, AuditResult, AuditStage, AuditVerdict
from aar.scoring.audits.review.code_listing import CodeListing, render_code_listing
from aar.scoring.audits.review.review_verdict import REVIEWER_AUDIT, VERDICT_TOOL, read_verdict, verdict_tool_definition
from aar.scoring.phases import Phase
from aar.store.database import Database
from aar.store.event_log import append_events

MAX_OUTPUT_TOKENS = 2000
NO_MODEL = (
    "Not reviewed: the campaign calls no Claude model (its team is the offline search baseline, or there is no key)."
)


class Reviewer:
    """Asks a model about a submission at its confirmation.

    Args:
        db: where the call is settled.
        ledger: pays for the call, on the campaign's account, not on a researcher's.
        model: model id; None if the campaign calls none; every review is then skipped.
        gateway: the open gateway of a model.
    """

    name = REVIEWER_AUDIT
    stage = AuditStage.CONFIRMED

    def __init__(self, db: Database, ledger: Ledger, model: str | None, gateway: Callable[[str], Gateway]) -> None:
        self._db = db
        self._ledger = ledger
        self._model = model
        self._gateway = gateway

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """Return no phases: the reviewer reads code only."""
        return ()

    async def judge(self, dossier: AuditInput) -> AuditResult:
        """Have the model review the code; a call that cannot be made is skipped.

        The skipped audit names the reason.
        """
        if self._model is None:
            return _skipped(NO_MODEL, "no key")
        shown = await anyio.to_thread.run_sync(render_code_listing, dossier)
        request = _request(self._model, shown)
        bound = FIXED_TOKENS + token_upper_bound([*request.system, *request.tools, *request.messages])
        request_id = f"review-{uuid.uuid4().hex}"
        try:
            await self._ledger.reserve_call(
                request_id=request_id,
                researcher_id=None,
                model=self._model,
                input_tokens=bound,
                max_output_tokens=MAX_OUTPUT_TOKENS,
            )
        except LimitReached as limit:
            return _skipped(f"Not reviewed: {limit.message}.", "no budget left")
        worst = Usage(cache_write_5m_tokens=bound, output_tokens=MAX_OUTPUT_TOKENS)
        try:
            reply, usd = await self._ask(dossier.campaign_id, request, request_id, worst)
        except DatabaseError:
            raise
        except (GatewayError, SetupError, UsageError) as error:
            return _skipped(f"Not reviewed: the model could not be called ({error.message}).", "not answered")
        found = read_verdict(_given(reply), shown)
        return replace(found, evidence={**found.evidence, "model": reply.model, "usd": usd})

    async def _ask(
        self, campaign_id: str, request: ModelRequest, request_id: str, worst: Usage
    ) -> tuple[CompleteReply, str]:
        started, flight = time.monotonic(), SendStatus()

        async def settle(bill: CallBill) -> str:
            def write(session: Session) -> Decimal:
                usd = self._ledger.settle_in(session, request_id, bill, time.monotonic() - started)
                append_events(session, campaign_id, doubt_events(session, campaign_id, None, request_id, bill))
                return usd

            with anyio.CancelScope(shield=True):
                usd = await self._db.write(write)
            return f"{usd:f}"

        try:
            reply = await self._gateway(request.model).complete(request, flight=flight)
        except StreamInterrupted as error:
            await settle(bill_for_partial_reply(self._ledger, request, error, worst))
            raise
        except BaseException as error:
            cut_off = flight.sent and not isinstance(error, AarError)  # perhaps after it was billed
            booked = settle(CallBill(worst, unknown=True)) if cut_off else self._ledger.release(request_id)
            with anyio.CancelScope(shield=True):
                await best_effort(booked, log_failure("an interrupted review could not be booked"))
            raise
        bill = bill_for_reply(self._ledger, request, reply)
        return reply, await settle(replace(bill, usage=bill.at_least(worst)))


def _request(model: str, shown: CodeListing) -> ModelRequest:
    rubric = {"type": "text", "text": _rubric(), "cache_control": {"type": "ephemeral"}}
    message = {"role": "user", "content": [{"type": "text", "text": shown.text}]}
    forced = {"tool_choice": {"type": "tool", "name": VERDICT_TOOL, "disable_parallel_tool_use": True}}
    return ModelRequest(model, [rubric], [verdict_tool_definition()], [message], MAX_OUTPUT_TOKENS, extra=forced)


def _given(reply: CompleteReply) -> dict[str, object] | None:
    if reply.stop_reason in TRUNCATED_STOP_REASONS:
        return None  # a truncated answer may still parse as a complete, different one
    for block in reply.content:
        if (
            block.get("type") == "tool_use"
            and block.get("name") == VERDICT_TOOL
            and isinstance(block.get("input"), dict)
        ):
            given: dict[str, object] = block["input"]
            return given
    return None


def _skipped(reason: str, why: str) -> AuditResult:
    return AuditResult(REVIEWER_AUDIT, AuditVerdict.SKIPPED, f"not reviewed: {why}", reason)


@lru_cache(maxsize=1)
def _rubric() -> str:
    return Path(__file__).with_name("rubric.md").read_text(encoding="utf-8")
