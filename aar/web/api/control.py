"""API for the operator: launch and steer campaigns, decide about submissions.

A campaign's controller carries the requests out; it outlives this server. No request sets a score.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from aar.campaign.lifecycle import SpecDraft, create_and_start, draft_spec, start_controller
from aar.campaign.presets import dotted_fields, load_preset
from aar.campaign.steering import MAX_REASON, CommandReceipt, add_researchers, change_limits, send_command
from aar.campaign.submission_decisions import (
    MAX_RULE,
    SubmissionDecision,
    confirm_submission,
    disqualify_submission,
    reinstate_submission,
)
from aar.scoring.visibility import Audience
from aar.text import PERSON_NAME_LENGTH, PERSON_NAME_PATTERN
from aar.web.api.forum.schemas import IdempotencyKey, PersonName
from aar.web.api.researchers import ResearcherOut
from aar.web.api.submissions import SubmissionOut
from aar.web.app_state import AppState, AppStateDep
from aar.web.authentication import Operator, OperatorDep, human_name
from aar.web.error_handlers import FieldProblem, ProblemDetails
from aar.web.request_params import CampaignId, Number, ViewOut, find_campaign

router = APIRouter(prefix="/campaigns")
_Text = Annotated[str, Field(max_length=4000)]
_Limit = Annotated[str | float | None, Field(description="null lifts it")]
_Reason = Annotated[str, Field(min_length=1, max_length=MAX_REASON)]


class LaunchIn(BaseModel):
    """A campaign to start: a template, a spec on top of it, or both."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    preset: Annotated[str | None, Field(max_length=64, examples=["quick"])] = None
    spec: dict[str, Any] = {}
    """Parts of a spec as in its YAML; missing parts come from the ready-made campaign, or else from the quick one."""
    check_only: bool = False
    """True checks and prices it, and starts nothing."""


class CostOut(ViewOut):
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


@router.post("", tags=["campaigns"], status_code=201)
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
        return LaunchOut(campaign_id=None, cost=CostOut.model_validate(made.cost))
    key = ("launch", idempotency_key) if idempotency_key else None
    return LaunchOut(campaign_id=await launch_once(shared, made, key), cost=CostOut.model_validate(made.cost))


def _drafted(shared: AppState, sent: LaunchIn) -> SpecDraft:
    """Checks the spec that was sent, outside the event loop because it reads files."""
    fields = (load_preset(sent.preset) if sent.preset else {}) | dotted_fields(sent.spec)
    return draft_spec(fields, shared.settings)


async def launch_once(shared: AppState, made: SpecDraft, key: tuple[str, ...] | None) -> str:
    """Starts a valid draft, once per key. Raises AarError."""
    spec = made.spec
    assert spec is not None
    return await shared.once.run(key, lambda: create_and_start(spec, shared.settings, shared.db))


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


class _ControlRequest(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    by: PersonName = None

    def signed(self, who: Operator) -> str:
        """Returns the name for the record."""
        return human_name(self.by or who.name)


class ControlIn(_ControlRequest):
    """A control request to a campaign or to one of its researchers."""

    command: Annotated[str, Field(max_length=32, examples=["pause", "stop", "message", "redirect", "resume", "remove"])]
    argument: _Text = ""
    """The text of a message or a new direction; else the reason, for the record."""
    researcher: Annotated[str, Field(max_length=64, examples=["r2"])] = ""
    """Empty for the whole campaign."""


class LimitsIn(_ControlRequest):
    """New limits: dotted names as in a spec, such as `usd` or `researcher.turns`."""

    limits: Annotated[dict[str, _Limit], Field(max_length=20)]


class TeamIn(_ControlRequest):
    """Researchers to add."""

    count: Annotated[int, Field(ge=1, le=500)] = 1
    direction: Annotated[str | None, Field(max_length=64)] = None
    """Key of one of the problem's directions; null takes the least used ones."""
    model: Annotated[str | None, Field(max_length=100)] = None


class ControlOut(BaseModel):
    """The state of a control request."""

    command: str
    heard: bool
    """True if a controller is alive to carry it out; without one, it took effect at once or waits for the next."""
    told: str
    """The same as text."""


class TeamOut(BaseModel):
    """The added researchers."""

    heard: bool
    researchers: list[ResearcherOut]


@router.post("/{campaign_id}/controls", tags=["controls"], status_code=202)
async def control(
    shared: AppStateDep,
    who: OperatorDep,
    campaign_id: CampaignId,
    sent: ControlIn,
    idempotency_key: IdempotencyKey = None,
) -> ControlOut:
    """Pauses, stops or resumes a campaign; writes to researchers; redirects one.

    `resume` of the campaign starts a controller.
    """

    async def work() -> ControlOut:
        if sent.command == "resume" and not sent.researcher:
            view = await shared.db.read(lambda session: find_campaign(session, campaign_id))
            await anyio.to_thread.run_sync(start_controller, view.id, shared.settings, shared.db)
            return ControlOut(command=sent.command, heard=True, told=f"{view.id} is resumed")
        receipt = await shared.db.write(partial(_ask, campaign_id=campaign_id, sent=sent, by=sent.signed(who)))
        return ControlOut(command=sent.command, heard=receipt.delivered, told=receipt.text)

    key = ("control", campaign_id, idempotency_key) if idempotency_key else None
    return await shared.once.run(key, work)


@router.post("/{campaign_id}/limits", tags=["controls"], status_code=202)
async def limits(shared: AppStateDep, who: OperatorDep, campaign_id: CampaignId, sent: LimitsIn) -> ControlOut:
    """Sets new limits; repeating the request changes nothing."""

    def write(session: Session) -> CommandReceipt:
        return change_limits(session, find_campaign(session, campaign_id).id, sent.limits, sent.signed(who))

    receipt = await shared.db.write(write)
    return ControlOut(command="limits", heard=receipt.delivered, told=receipt.text)


@router.post("/{campaign_id}/team", tags=["controls"], status_code=201)
async def add(
    shared: AppStateDep, who: OperatorDep, campaign_id: CampaignId, sent: TeamIn, idempotency_key: IdempotencyKey = None
) -> TeamOut:
    """Adds researchers; in a running campaign they begin at once.

    `controls` removes one.
    """

    def write(session: Session) -> TeamOut:
        full_id = find_campaign(session, campaign_id).id
        made, heard = add_researchers(
            session, full_id, sent.count, sent.signed(who), direction=sent.direction, model=sent.model
        )
        return TeamOut(heard=heard, researchers=[ResearcherOut.of(view, Audience.OPERATOR) for view in made])

    key = ("team", campaign_id, idempotency_key) if idempotency_key else None
    return await shared.once.run(key, lambda: shared.db.write(write))


def _ask(session: Session, *, campaign_id: str, sent: ControlIn, by: str) -> CommandReceipt:
    view = find_campaign(session, campaign_id)
    return send_command(session, view.id, sent.command, sent.argument, by, sent.researcher)


class _Decision(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    by: Annotated[str, Field(max_length=PERSON_NAME_LENGTH, pattern=PERSON_NAME_PATTERN)] = "operator"


class ConfirmationIn(_Decision):
    """A request to confirm a submission."""

    reason: Annotated[str, Field(max_length=MAX_REASON)] = ""


class DisqualificationIn(_Decision):
    """A request to take a submission off the board."""

    rule: Annotated[str, Field(min_length=1, max_length=MAX_RULE, examples=["person.leak"])]
    reason: _Reason


class ReinstatementIn(_Decision):
    """A request to reinstate a disqualified submission."""

    reason: _Reason


class RulingOut(BaseModel):
    """The submission's current status.

    It also shows if a controller is alive to carry out the request.
    """

    heard: bool
    submission: SubmissionOut


@router.post("/{campaign_id}/submissions/{number}/confirmation", tags=["submissions"], status_code=202)
async def confirm(
    shared: AppStateDep, _who: OperatorDep, campaign_id: CampaignId, number: Number, sent: ConfirmationIn
) -> RulingOut:
    """Requests a run on new seeds and sealed splits, with audits.

    Without a controller the request waits until the campaign is resumed.
    """
    by = human_name(sent.by)
    return await _decide(
        shared, campaign_id, lambda session, full_id: confirm_submission(session, full_id, number, sent.reason, by)
    )


@router.post("/{campaign_id}/submissions/{number}/disqualification", tags=["submissions"])
async def disqualify(
    shared: AppStateDep, _who: OperatorDep, campaign_id: CampaignId, number: Number, sent: DisqualificationIn
) -> RulingOut:
    """Takes a submission off the board, with all submissions of the same code."""
    by = human_name(sent.by)
    return await _decide(
        shared,
        campaign_id,
        lambda session, full_id: disqualify_submission(session, full_id, number, sent.rule, sent.reason, by),
    )


@router.post("/{campaign_id}/submissions/{number}/reinstatement", tags=["submissions"])
async def reinstate(
    shared: AppStateDep, _who: OperatorDep, campaign_id: CampaignId, number: Number, sent: ReinstatementIn
) -> RulingOut:
    """Puts a submission back on the board."""
    by = human_name(sent.by)
    return await _decide(
        shared, campaign_id, lambda session, full_id: reinstate_submission(session, full_id, number, sent.reason, by)
    )


async def _decide(shared: AppState, campaign_id: str, rule: Callable[[Session, str], SubmissionDecision]) -> RulingOut:
    ruling = await shared.db.write(lambda session: rule(session, find_campaign(session, campaign_id).id))
    return RulingOut(heard=ruling.heard, submission=SubmissionOut.model_validate(ruling.submission))
