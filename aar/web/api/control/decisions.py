"""What people decide about submissions: for the operator only. None of it sets a score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from aar.campaign.control.submission_decisions import (
    MAX_REASON,
    MAX_RULE,
    SubmissionDecision,
    confirm_submission,
    disqualify_submission,
    reinstate_submission,
)
from aar.web.api.pagination import Number
from aar.web.api.submissions import SubmissionOut
from aar.web.app_state import AppState, AppStateDep
from aar.web.authentication import OperatorDep, human_name
from aar.web.path_params import CampaignId, find_campaign

router = APIRouter(prefix="/campaigns/{campaign_id}/submissions/{number}", tags=["submissions"])
_Reason = Annotated[str, Field(min_length=1, max_length=MAX_REASON)]


class _Decision(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    by: Annotated[str, Field(max_length=40, pattern=r"^[\w .-]+$")] = "operator"


class ConfirmationIn(_Decision):
    """A confirmation is asked for."""

    reason: Annotated[str, Field(max_length=MAX_REASON)] = ""


class DisqualificationIn(_Decision):
    """A submission is to be taken off the board."""

    rule: Annotated[str, Field(min_length=1, max_length=MAX_RULE, examples=["person.leak"])]
    reason: _Reason


class ReinstatementIn(_Decision):
    """A disqualified submission is to be put back."""

    reason: _Reason


class RulingOut(BaseModel):
    """How the submission stands now, and whether a controller is there to carry out what was asked."""

    heard: bool
    submission: SubmissionOut


@router.post("/confirmation", status_code=202)
async def confirm(
    shared: AppStateDep, _who: OperatorDep, campaign_id: CampaignId, number: Number, sent: ConfirmationIn
) -> RulingOut:
    """Have it run on new seeds and the sealed splits, and audited; without a controller it waits for a resume."""
    by = human_name(sent.by)
    return await _decide(
        shared, campaign_id, lambda session, found: confirm_submission(session, found, number, sent.reason, by)
    )


@router.post("/disqualification")
async def disqualify(
    shared: AppStateDep, _who: OperatorDep, campaign_id: CampaignId, number: Number, sent: DisqualificationIn
) -> RulingOut:
    """Take it off the board, and all submissions of the same code with it."""
    by = human_name(sent.by)
    return await _decide(
        shared,
        campaign_id,
        lambda session, found: disqualify_submission(session, found, number, sent.rule, sent.reason, by),
    )


@router.post("/reinstatement")
async def reinstate(
    shared: AppStateDep, _who: OperatorDep, campaign_id: CampaignId, number: Number, sent: ReinstatementIn
) -> RulingOut:
    """Put it back on the board."""
    by = human_name(sent.by)
    return await _decide(
        shared, campaign_id, lambda session, found: reinstate_submission(session, found, number, sent.reason, by)
    )


async def _decide(shared: AppState, campaign_id: str, rule: Callable[[Session, str], SubmissionDecision]) -> RulingOut:
    ruling = await shared.db.write(lambda session: rule(session, find_campaign(session, campaign_id).id))
    return RulingOut(heard=ruling.heard, submission=SubmissionOut.of(ruling.submission))
