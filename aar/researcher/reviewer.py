"""The reviewer: an audit in which a model reads a method's frozen code and claim against a rubric.

The rubric is the same for every review, so the service keeps it in its prompt cache; the method stands in the one
message after it, as untrusted text. The answer is a forced tool call, and what it quotes is checked against the code.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files

import anyio
import anyio.to_thread

from aar.budget.ledger import Ledger
from aar.budget.usage import Usage, usage_of
from aar.errors import GatewayError, LimitReached
from aar.problems.protocol import Problem
from aar.researcher import prompts
from aar.researcher.assembly import Reply
from aar.researcher.call import CallRequest
from aar.researcher.estimate import FIXED_TOKENS, most_tokens
from aar.researcher.exhibit import Exhibit, exhibit
from aar.researcher.gateway import Gateway
from aar.researcher.refusals import StreamBroken
from aar.researcher.turns import seen_usage
from aar.researcher.verdict_tool import REVIEWER, TOOL, definition, read_answer
from aar.scoring.audits.protocol import Dossier, Finding, Moment, Verdict
from aar.scoring.phases import Phase
from aar.store.database import Database

MOST_OUTPUT_TOKENS = 2000
NO_MODEL = (
    "Nobody has read this code: the campaign calls no Claude model (its team is the offline search baseline, or there "
    "is no key)."
)


class Reviewer:
    """Asks a model about a submission at its confirmation.

    Args:
        db: where the call is settled.
        ledger: pays for the call, on the campaign's account and nobody's own.
        model: model id; None where the campaign calls none, and every answer is then that it was skipped.
        gateway: the open gateway of a model.
    """

    name = REVIEWER
    moment = Moment.CONFIRMED

    def __init__(self, db: Database, ledger: Ledger, model: str | None, gateway: Callable[[str], Gateway]) -> None:
        self._db = db
        self._ledger = ledger
        self._model = model
        self._gateway = gateway

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """None: it reads code."""
        return ()

    async def judge(self, dossier: Dossier) -> Finding:
        """Have the code read. Whatever keeps the call from being made is a skipped audit that says so."""
        if self._model is None:
            return _skipped(NO_MODEL)
        shown = await anyio.to_thread.run_sync(exhibit, dossier)
        request = _request(self._model, shown)
        bound = FIXED_TOKENS + most_tokens([*request.system, *request.tools, *request.messages])
        request_id = f"review-{uuid.uuid4().hex}"
        try:
            await self._ledger.reserve_call(
                request_id=request_id,
                researcher_id=None,
                model=self._model,
                input_tokens=bound,
                max_output_tokens=MOST_OUTPUT_TOKENS,
            )
        except LimitReached as limit:
            return _skipped(f"Nobody has read this code: {limit.message}.")
        worst = Usage(cache_write_5m_tokens=bound, output_tokens=MOST_OUTPUT_TOKENS)
        try:
            reply, usd = await self._ask(request, request_id, worst)
        except GatewayError as error:
            return _skipped(f"Nobody has read this code: the model could not be asked ({error.message}).")
        found = read_answer(_given(reply), shown)
        return replace(found, evidence={**found.evidence, "model": reply.model, "usd": usd})

    async def _ask(self, request: CallRequest, request_id: str, worst: Usage) -> tuple[Reply, str]:
        started = time.monotonic()

        async def settle(usage: Usage) -> str:
            with anyio.CancelScope(shield=True):
                usd = await self._db.write(
                    lambda session: self._ledger.settle_in(session, request_id, usage, time.monotonic() - started)
                )
            return f"{usd:f}"

        try:
            reply = await self._gateway(request.model).complete(request)
        except StreamBroken as error:
            await settle(seen_usage(error.usage, worst))
            raise
        except GatewayError:
            await self._ledger.release(request_id)
            raise
        except BaseException:
            await settle(worst)  # cut off, perhaps after it was billed
            raise
        return reply, await settle(usage_of(reply.usage))


def _request(model: str, shown: Exhibit) -> CallRequest:
    rubric = {"type": "text", "text": _rubric(), "cache_control": {"type": "ephemeral"}}
    message = {"role": "user", "content": [{"type": "text", "text": shown.text}]}
    forced = {"tool_choice": {"type": "tool", "name": TOOL, "disable_parallel_tool_use": True}}
    return CallRequest(model, [rubric], [definition()], [message], MOST_OUTPUT_TOKENS, extra=forced)


def _given(reply: Reply) -> dict[str, object] | None:
    for block in reply.content:
        if block.get("type") == "tool_use" and block.get("name") == TOOL and isinstance(block.get("input"), dict):
            given: dict[str, object] = block["input"]
            return given
    return None


def _skipped(reason: str) -> Finding:
    return Finding(REVIEWER, Verdict.SKIPPED, "", reason)


@lru_cache(maxsize=1)
def _rubric() -> str:
    return files(prompts).joinpath("rubric.md").read_text(encoding="utf-8")
