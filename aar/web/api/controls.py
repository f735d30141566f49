"""Steering a campaign: for the operator only; the campaign's controller carries it out."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from aar.campaign.control import request_control
from aar.web.auth import OperatorDep, human_name
from aar.web.lookup import CampaignId, campaign_of
from aar.web.state import SharedDep

router = APIRouter(prefix="/campaigns/{campaign_id}/controls", tags=["controls"])
_Text = Annotated[str, Field(max_length=4000)]


class ControlIn(BaseModel):
    """What is asked of a campaign."""

    model_config = ConfigDict(extra="forbid")

    command: Annotated[str, Field(max_length=32, examples=["pause", "stop"])]
    argument: _Text = ""
    """The reason, for the record."""
    by: Annotated[str, Field(max_length=40, pattern=r"^[\w .-]+$")] = "operator"


class ControlOut(BaseModel):
    """What became of it so far."""

    command: str
    heard: bool
    """Whether a controller is there to carry it out; if none is, it took effect at once."""


@router.post("", status_code=202)
async def control(shared: SharedDep, _who: OperatorDep, campaign_id: CampaignId, sent: ControlIn) -> ControlOut:
    """Ask for ``pause`` or ``stop``."""
    heard = await shared.db.write(partial(_ask, campaign_id=campaign_id, sent=sent))
    return ControlOut(command=sent.command, heard=heard)


def _ask(session: Session, campaign_id: str, sent: ControlIn) -> bool:
    view = campaign_of(session, campaign_id)
    return bool(request_control(session, view.id, sent.command, sent.argument, human_name(sent.by)))
