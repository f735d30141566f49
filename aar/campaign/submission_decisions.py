"""Decisions of operators about submissions: confirm, disqualify and reinstate.

Each is recorded with its author, reason and time. If the campaign runs, the scorer picks a queued confirmation up by
itself; otherwise the confirmation waits until the campaign resumes.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from aar.campaign.controller_lock import is_controller_alive, load_campaign
from aar.campaign.steering import MAX_REASON, validate_reason
from aar.errors import Conflict, UsageError
from aar.events import ControlRequested
from aar.scoring.confirmation_queue import request_check
from aar.scoring.phases import CONFIRMATION
from aar.scoring.submission_status import disqualify, reinstate
from aar.scoring.submissions import SubmissionView, get_submission
from aar.store.event_log import append_event
from aar.store.models import Campaign
from aar.text import validate_text

MAX_RULE = 64


@dataclass(frozen=True, slots=True)
class SubmissionDecision:
    """The result of a decision.

    Args:
        submission: as it stands now.
        heard: whether a controller runs the campaign and confirms it soon; without one it waits for
            ``aar resume``.
    """

    submission: SubmissionView
    heard: bool


def confirm_submission(session: Session, campaign_id: str, number: int, reason: str, by: str) -> SubmissionDecision:
    """Queue a confirmation: fresh seeds, the sealed splits, the audits.

    Args:
        number: of a measured submission.
        reason: may be empty.
        by: the author, such as ``human:ana``.

    Raises:
        NotFound: no such campaign or submission.
        Conflict: it has no score or is off the board, or the campaign is finished.
        UsageError: the reason is too long.
    """
    campaign, submission = _find(session, campaign_id, number)
    if campaign.state == "finished":
        raise Conflict(
            f"campaign {campaign_id} is finished: it has no more scoring runs",
            "Pause a campaign that you want to resume, instead of stopping it",
        )
    reason = validate_reason(reason)
    cause = f"asked for by {by}" + (f": {reason}" if reason else "")
    request_check(session, campaign_id, submission.id, CONFIRMATION, cause, by)
    append_event(
        session, campaign_id, ControlRequested(command="confirm", argument=f"s{number} {reason}".strip(), by=by)
    )
    return _decision(session, campaign, number)


def disqualify_submission(
    session: Session, campaign_id: str, number: int, rule: str, reason: str, by: str
) -> SubmissionDecision:
    """Disqualify a submission and every other submission of the same files.

    Args:
        rule: short name of the broken rule, such as ``person.leak``.
        reason: shown to its author and everybody else.

    Raises:
        NotFound: no such campaign or submission.
        Conflict: it is disqualified already.
        UsageError: rule or reason is empty or too long.
    """
    campaign, submission = _find(session, campaign_id, number)
    rule = validate_text("rule", rule, MAX_RULE, one_line=True)
    if " " in rule:
        raise UsageError(f"invalid rule name {rule!r}", "Give one word, such as static.network or person.leak")
    disqualify(
        session, submission.id, rule, validate_text("reason", reason, MAX_REASON, one_line=True), by, all_authors=True
    )
    return _decision(session, campaign, number)


def reinstate_submission(session: Session, campaign_id: str, number: int, reason: str, by: str) -> SubmissionDecision:
    """Reinstate a disqualified submission, with the score that it had or will get.

    Raises:
        NotFound: no such campaign or submission.
        Conflict: it is not disqualified.
        UsageError: the reason is empty or too long.
    """
    campaign, submission = _find(session, campaign_id, number)
    reinstate(session, submission.id, validate_text("reason", reason, MAX_REASON, one_line=True), by)
    return _decision(session, campaign, number)


def _find(session: Session, campaign_id: str, number: int) -> tuple[Campaign, SubmissionView]:
    return load_campaign(session, campaign_id), get_submission(session, campaign_id, number)


def _decision(session: Session, campaign: Campaign, number: int) -> SubmissionDecision:
    session.flush()
    return SubmissionDecision(get_submission(session, campaign.id, number), is_controller_alive(campaign))
