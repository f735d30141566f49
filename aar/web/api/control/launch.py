"""API to start or resume a campaign, in a controller that outlives this server."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from aar.campaign.costs.cost_estimate import CostEstimate
from aar.campaign.lifecycle.background_start import SpecDraft, create_and_start, draft_spec
from aar.campaign.presets import dotted_fields, load_preset
from aar.web.api.forum.schemas import IdempotencyKey
from aar.web.app_state import AppState, AppStateDep
from aar.web.authentication import OperatorDep
from aar.web.error_handlers import FieldProblem, ProblemDetails

router = APIRouter(prefix="/campaigns", tags=["campaigns"])


class LaunchIn(BaseModel):
    """A campaign to start: a template, a spec on top of it, or both."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    preset: Annotated[str | None, Field(max_length=64, examples=["quick"])] = None
    spec: dict[str, Any] = {}
    """Parts of a spec as in its YAML; missing parts come from the ready-made campaign, or else from the quick one."""
    check_only: bool = False
    """True checks and prices it, and starts nothing."""


class CostOut(BaseModel):
    """A cost estimate in dollars; null if unknown for lack of a limit."""

    most: Decimal | None
    expected: Decimal | None
    models: Decimal | None
    compute: Decimal | None
    per_agent_hour: Decimal
    agent_hours: float | None


class LaunchOut(BaseModel):
    """A started campaign."""

    campaign_id: str | None
    """null if it was only checked."""
    cost: CostOut


@router.post("", status_code=201)
async def launch_campaign(
    shared: AppStateDep, request: Request, _who: OperatorDep, sent: LaunchIn, idempotency_key: IdempotencyKey = None
) -> LaunchOut:
    """Checks a spec as ``aar spec validate`` does, and starts it.

    Keys come from the server's environment only.
    """
    made = await anyio.to_thread.run_sync(_drafted, shared, sent)
    if made.spec is None or made.cost is None:
        return invalid_spec_response(made)  # type: ignore[return-value]  # FastAPI sends a response as it is
    if sent.check_only:
        return LaunchOut(campaign_id=None, cost=cost_out(made.cost))
    key = ("launch", idempotency_key) if idempotency_key else None
    return LaunchOut(campaign_id=await launch_once(shared, made, key), cost=cost_out(made.cost))


def _drafted(shared: AppState, sent: LaunchIn) -> SpecDraft:
    """Checks the spec that was sent, outside the event loop because it reads files."""
    fields = (load_preset(sent.preset) if sent.preset else {}) | dotted_fields(sent.spec)
    return draft_spec(fields, shared.settings)


async def launch_once(shared: AppState, made: SpecDraft, key: tuple[str, ...] | None) -> str:
    """Starts a valid draft, once per key. Raises AarError."""
    spec = made.spec
    assert spec is not None
    return await shared.once.run(key, lambda: create_and_start(spec, shared.settings, shared.db))


def cost_out(cost: CostEstimate) -> CostOut:
    """Converts an estimate to its response."""
    return CostOut(**{name: getattr(cost, name) for name in CostOut.model_fields})


def invalid_spec_response(made: SpecDraft) -> Response:
    """Returns the response to an invalid spec, field by field."""
    problems = [FieldProblem(where=where or "spec", message=message) for where, message in made.problems]
    details = ProblemDetails(
        type="urn:aar:error:SpecError",
        title="Unprocessable",
        status=422,
        detail="invalid spec",
        errors=problems,
    )
    return JSONResponse(details.model_dump(mode="json"), 422, media_type="application/problem+json")
