"""Steers a live campaign: messages to researchers, pausing them, changing directions and limits.

Every request is first written to the log and the rows, with its author and time. A running controller applies it within
a second; one that starts later finds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from sqlalchemy.orm import Session

from aar.campaign.control.control_requests import enqueue_request, request_command
from aar.campaign.control.controller_lock import CampaignCommand
from aar.campaign.control.researcher_commands import REMOVE, RESUME, read_desired_states
from aar.campaign.external_researchers import is_external, revoke_token
from aar.campaign.spec_loader import override_stored_spec
from aar.campaign.views import ResearcherView, get_researcher
from aar.errors import Conflict, NotFound, UsageError
from aar.events import ControlRequested
from aar.store.event_log import lock_campaign
from aar.store.models import Campaign, Researcher
from aar.text.sanitize import clean_line, validate_text

MAX_MESSAGE_CHARACTERS = 4000
"""Most characters of a message or a new direction."""
MAX_REASON = 1000
CHANGEABLE_LIMITS = (
    "usd",
    "tokens",
    "hours",
    "submissions",
    "scoring_runs",
    "usd_per_agent_hour",
    "researcher.usd",
    "researcher.tokens",
    "researcher.turns",
    "researcher.submissions",
)
"""Limits that may change during a campaign."""
ALL_RESEARCHERS = "all"
RESEARCHER_COMMANDS = ("pause", "resume", "stop", "remove")


@dataclass(frozen=True, slots=True)
class CommandReceipt:
    """The result of a control request.

    Args:
        heard: whether a controller runs the campaign and applies it now.
        told: one line for the operator.
    """

    heard: bool
    told: str


def send_command(
    session: Session, campaign_id: str, command: str, argument: str, by: str, researcher: str = ""
) -> CommandReceipt:
    """Send a command with one text to the whole campaign or to one researcher.

    Args:
        command: pause, stop, message; of one researcher also resume, remove and redirect.
        argument: the text of a message or a new direction; else the reason, which may be empty.
        researcher: its name; empty, or ``all`` with a message, for the campaign.

    Raises:
        NotFound: no such campaign or researcher.
        UsageError: no such command, or a text that is empty or too long.
        Conflict: the state of the campaign or the researcher does not allow it.
    """
    if researcher == ALL_RESEARCHERS:
        researcher = ""
    if command == "message":
        return send_message(session, campaign_id, researcher, argument, by)
    if not researcher:
        if command not in get_args(CampaignCommand):
            raise UsageError(f"unknown command {command[:32]} for a campaign", "Use one of: pause, stop, message")
        reason = _reason(argument)
        heard = request_command(session, campaign_id, command, reason, by)
        if not heard:
            done = "finished" if command == "stop" else "paused"
            return CommandReceipt(heard, f"{campaign_id} is {done} now; no controller was running it")
        starting = session.get_one(Campaign, campaign_id).state != "running"
        told = f"{campaign_id} is starting and will {command} once started" if starting else ""
        return CommandReceipt(heard, told or f"asked {campaign_id} to {command}")
    if command == "redirect":
        return change_direction(session, campaign_id, researcher, argument, by)
    if command not in RESEARCHER_COMMANDS:
        raise UsageError(
            f"unknown command {command[:32]} for a researcher",
            f"Use one of: {', '.join(RESEARCHER_COMMANDS)}, redirect",
        )
    return _steer(session, campaign_id, researcher, command, argument, by)


def send_message(session: Session, campaign_id: str, researcher: str, text: str, by: str) -> CommandReceipt:
    """Send a message to one researcher or to all.

    Each reads it at its next turn.

    It is marked as the operator's text, and ends any wait.

    Raises: as ``send_command``.
    """
    campaign = _living(session, campaign_id)
    words = validate_text("message", text, MAX_MESSAGE_CHARACTERS)
    view = _member(session, campaign_id, researcher) if researcher else None
    if view is not None and view.state == "finished":
        raise Conflict(f"{view.name} has finished and reads no messages", "Write to another, or post on the forum")
    asked = ControlRequested(command="message", argument=words, by=by, researcher=view.name if view else "")
    heard = enqueue_request(session, campaign, asked, view.id if view else None)
    whom = view.name if view else "every researcher"
    return CommandReceipt(heard, f"{whom} reads it at {_receipt_text(view, heard)}")


def change_direction(session: Session, campaign_id: str, researcher: str, text: str, by: str) -> CommandReceipt:
    """Give one researcher a new direction, as a message.

    Its system prompt stays as it was.

    Raises: as ``send_command``.
    """
    campaign = _living(session, campaign_id)
    words = validate_text("direction", text, MAX_MESSAGE_CHARACTERS)
    view = _member(session, campaign_id, researcher)
    if view.state == "finished":
        raise Conflict(f"{view.name} has finished", "Add a researcher for the new direction: aar team add")
    row = session.get_one(Researcher, view.id)
    row.direction_key, row.direction, row.family = "redirected", clean_line(words), "other"
    asked = ControlRequested(command="redirect", argument=words, by=by, researcher=view.name)
    heard = enqueue_request(session, campaign, asked, view.id)
    return CommandReceipt(heard, f"{view.name} has a new direction and reads it at {_receipt_text(view, heard)}")


def change_limits(session: Session, campaign_id: str, changes: Mapping[str, Any], by: str) -> CommandReceipt:
    """Change limits in the stored spec and in the running controller, if any.

    Args:
        changes: by name as in the spec (``usd``, ``researcher.turns``) to value; None removes a limit.

    Raises:
        NotFound: no such campaign.
        UsageError: no change, or a limit that may not change.
        SpecError: a value is invalid.
        Conflict: the campaign is over.
    """
    campaign = _living(session, campaign_id)
    unknown = [name for name in changes if name not in CHANGEABLE_LIMITS]
    if unknown or not changes:
        said = f"limit {unknown[0][:40]} cannot be changed" if unknown else "no limit was given"
        raise UsageError(said, f"Use one of: {', '.join(CHANGEABLE_LIMITS)}")
    spec = override_stored_spec(campaign.spec, {f"limits.{name}": value for name, value in changes.items()})
    campaign.spec = spec.model_dump(mode="json")
    said = ", ".join(f"{name} {'none' if value is None else value}" for name, value in changes.items())
    heard = enqueue_request(session, campaign, ControlRequested(command="limits", argument=said, by=by))
    return CommandReceipt(
        heard, f"limits of {campaign_id}: {said}, {'from now on' if heard else 'from its next start on'}"
    )


def _steer(session: Session, campaign_id: str, researcher: str, command: str, reason: str, by: str) -> CommandReceipt:
    campaign = _living(session, campaign_id)
    view = get_researcher(session, campaign_id, researcher)
    if is_external(view.model):
        if command != REMOVE:
            raise Conflict(
                f"cannot {command} {view.name}: it is an external researcher", "Remove it to revoke its token"
            )
        revoke_token(session, campaign_id, view.name)
    elif view.state == "finished":
        raise Conflict(f"{view.name} has finished already", "Add another with: aar team add")
    wish = read_desired_states(session, campaign_id).get(view.id)
    held = wish is not None and wish.is_paused
    if command == RESUME and not held and view.state not in ("paused", "failed"):
        raise Conflict(f"{view.name} is {view.state}, not paused")
    asked = ControlRequested(command=command, argument=_reason(reason), by=by, researcher=view.name)
    heard = enqueue_request(session, campaign, asked, view.id)
    done = {"pause": "pauses", "resume": "goes on", "stop": "stops for good", "remove": "leaves the team"}[command]
    return CommandReceipt(heard, f"{view.name} {done}{'' if heard else ': noted for the next start'}")


def _living(session: Session, campaign_id: str) -> Campaign:
    lock_campaign(session, campaign_id)
    campaign = session.get(Campaign, campaign_id)
    if campaign is None:
        raise NotFound(f"no campaign {campaign_id}", "See `aar list`")
    if campaign.state == "finished":
        raise Conflict(f"campaign {campaign_id} is finished", "Start a new one with: aar start")
    return campaign


def _member(session: Session, campaign_id: str, name: str) -> ResearcherView:
    view = get_researcher(session, campaign_id, name)
    if is_external(view.model):
        raise Conflict(
            f"{view.name} is an external researcher and has no conversation here", "Write on the forum, which it reads"
        )
    return view


def _reason(text: str) -> str:
    return validate_text("reason", text, MAX_REASON, one_line=True) if text.strip() else ""


def _receipt_text(view: ResearcherView | None, heard: bool) -> str:
    if not heard:
        return "its first turn after the next start"
    resting = view is not None and view.state in ("paused", "failed")
    return "its first turn after it resumes" if resting else "its next turn"
