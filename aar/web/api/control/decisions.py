"""API of decisions about submissions, for the operator only. They never set a score."""

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


@router.post("/confirmation", status_code=202)
async def confirm(
    shared: AppStateDep, _who: OperatorDep, campaign_id: CampaignId, number: Number, sent: ConfirmationIn
) -> RulingOut:
    """Requests a run on new seeds and sealed splits, with audits.

    Without a controller the request waits until the campaign is resumed.
    """
    by = human_name(sent.by)
    return await _decide(
        shared, campaign_id, lambda session, found: confirm_submission(session, found, number, sent.reason, by)
    )


@router.post("/disqualification")
async def disqualify(
    shared: AppStateDep, _who: OperatorDep, campaign_id: CampaignId, number: Number, sent: DisqualificationIn
) -> RulingOut:
    """Takes a submission off the board, with all submissions of the same code."""
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
    """Puts a submission back on the board."""
    by = human_name(sent.by)
    return await _decide(
        shared, campaign_id, lambda session, found: reinstate_submission(session, found, number, sent.reason, by)
    )


async def _decide(shared: AppState, campaign_id: str, rule: Callable[[Session, str], SubmissionDecision]) -> RulingOut:
    ruling = await shared.db.write(lambda session: rule(session, find_campaign(session, campaign_id).id))
    return RulingOut(heard=ruling.heard, submission=SubmissionOut.of(ruling.submission))
