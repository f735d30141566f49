"""API to steer a campaign, for the operator only; its controller carries it out."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from aar.campaign.control.steering import CommandReceipt, change_limits, send_command
from aar.campaign.lifecycle.background_start import start_controller
from aar.campaign.researchers.add_researchers import add_researchers
from aar.scoring.visibility import Audience
from aar.web.api.forum.schemas import IdempotencyKey
from aar.web.api.researchers import ResearcherOut
from aar.web.app_state import AppStateDep
from aar.web.authentication import Operator, OperatorDep, human_name
from aar.web.path_params import CampaignId, find_campaign

router = APIRouter(prefix="/campaigns/{campaign_id}", tags=["controls"])
_Text = Annotated[str, Field(max_length=4000)]
_Name = Annotated[str | None, Field(max_length=40, pattern=r"^[\w .-]+$", description="A person's name")]
_Limit = Annotated[str | float | None, Field(description="null lifts it")]


class _Asking(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    by: _Name = None

    def signed(self, who: Operator) -> str:
        """Returns the name for the record."""
        return human_name(self.by or who.name)


class ControlIn(_Asking):
    """A control request to a campaign or to one of its researchers."""

    command: Annotated[str, Field(max_length=32, examples=["pause", "stop", "message", "redirect", "resume", "remove"])]
    argument: _Text = ""
    """The text of a message or a new direction; else the reason, for the record."""
    researcher: Annotated[str, Field(max_length=64, examples=["r2"])] = ""
    """Empty for the whole campaign."""


class LimitsIn(_Asking):
    """New limits: dotted names as in a spec, such as `usd` or `researcher.turns`."""

    limits: Annotated[dict[str, _Limit], Field(max_length=20)]


class TeamIn(_Asking):
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


@router.post("/controls", status_code=202)
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
        asked = await shared.db.write(partial(_ask, campaign_id=campaign_id, sent=sent, by=sent.signed(who)))
        return ControlOut(command=sent.command, heard=asked.heard, told=asked.told)

    key = ("control", campaign_id, idempotency_key) if idempotency_key else None
    return await shared.once.run(key, work)


@router.post("/limits", status_code=202)
async def limits(shared: AppStateDep, who: OperatorDep, campaign_id: CampaignId, sent: LimitsIn) -> ControlOut:
    """Sets new limits; repeating the request changes nothing."""

    def write(session: Session) -> CommandReceipt:
        return change_limits(session, find_campaign(session, campaign_id).id, sent.limits, sent.signed(who))

    asked = await shared.db.write(write)
    return ControlOut(command="limits", heard=asked.heard, told=asked.told)


@router.post("/team", status_code=201)
async def add(
    shared: AppStateDep, who: OperatorDep, campaign_id: CampaignId, sent: TeamIn, idempotency_key: IdempotencyKey = None
) -> TeamOut:
    """Adds researchers; in a running campaign they begin at once.

    `controls` removes one.
    """

    def write(session: Session) -> TeamOut:
        found = find_campaign(session, campaign_id).id
        made, heard = add_researchers(
            session, found, sent.count, sent.signed(who), direction=sent.direction, model=sent.model
        )
        return TeamOut(heard=heard, researchers=[ResearcherOut.of(view, Audience.OPERATOR) for view in made])

    key = ("team", campaign_id, idempotency_key) if idempotency_key else None
    return await shared.once.run(key, lambda: shared.db.write(write))


def _ask(session: Session, *, campaign_id: str, sent: ControlIn, by: str) -> CommandReceipt:
    view = find_campaign(session, campaign_id)
    return send_command(session, view.id, sent.command, sent.argument, by, sent.researcher)
