"""Control requests: pause, stop or change a campaign from any process with its database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.campaign.control.controller_identity import is_dead_on_this_host
from aar.errors import Conflict, NotFound, UsageError
from aar.events import ControlRequested
from aar.store.column_types import now
from aar.store.event_log import append_event, lock_campaign
from aar.store.models import Campaign, Control

CampaignCommand = Literal["pause", "stop"]
ControllerState = Literal["alive", "lost", "none"]
RESEARCHER_COMMAND = "researcher"
"""The command of a request that concerns one researcher. Its desired state is in the log."""
HEARTBEAT_TIMEOUT = timedelta(seconds=20)
"""A controller without a heartbeat for this long counts as dead."""


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """A control request that is not handled yet."""

    id: int
    command: str
    argument: str
    """For one researcher, its name."""
    by: str


def is_controller_alive(campaign: Campaign) -> bool:
    """Return whether a controller holds the campaign and sent a heartbeat recently.

    A controller whose process is known to be dead is not alive.
    """
    if not campaign.controller or campaign.heartbeat_at is None:
        return False
    return datetime.now(UTC) - campaign.heartbeat_at < HEARTBEAT_TIMEOUT and not is_dead_on_this_host(
        campaign.controller
    )


def controller_state(campaign: Campaign) -> ControllerState:
    """Return the controller's state: ``alive``, ``lost`` or ``none``.

    A lost controller died while it ran or started the campaign. ``none`` means that no controller is needed.
    """
    if is_controller_alive(campaign):
        return "alive"
    began = campaign.state == "running" or (campaign.state == "created" and bool(campaign.controller))
    return "lost" if began else "none"


def enqueue_request(
    session: Session, campaign: Campaign, asked: ControlRequested, researcher_id: str | None = None
) -> bool:
    """Store a request with its author and time.

    Return whether a controller will apply it.

    Requests are applied from what the database holds (rows, spec, log), never from the request alone, so the
    next controller applies them if one was killed before it checked.
    """
    append_event(session, campaign.id, asked, researcher_id)
    if not is_controller_alive(campaign):
        return False
    command, argument = (RESEARCHER_COMMAND, asked.researcher) if researcher_id else (asked.command, asked.argument)
    session.add(Control(campaign_id=campaign.id, command=command, argument=argument, by=asked.by))
    return True


def request_command(session: Session, campaign_id: str, command: str, argument: str, by: str) -> bool:
    """Request ``pause`` or ``stop`` of a campaign; return whether a controller will apply it.

    With no controller alive, a stop takes effect at once (the campaign becomes finished) and a pause likewise.

    Raises:
        NotFound: no such campaign.
        UsageError: no such command.
        Conflict: the campaign is over already.
    """
    if command not in get_args(CampaignCommand):
        raise UsageError(f"unknown command {command}", f"Use one of: {', '.join(get_args(CampaignCommand))}")
    lock_campaign(session, campaign_id)
    campaign = session.get(Campaign, campaign_id, populate_existing=True)
    if campaign is None:
        raise NotFound(f"no campaign {campaign_id}", "See `aar list`")
    if campaign.state == "finished":
        raise Conflict(f"campaign {campaign_id} is {campaign.state} already")
    if enqueue_request(session, campaign, ControlRequested(command=command, argument=argument, by=by)):
        return True
    apply_without_controller(campaign, command, argument, by)
    return False


def apply_without_controller(campaign: Campaign, command: str, argument: str, by: str) -> None:
    """Pause or stop a campaign without a controller.

    Other commands stay in the rows and the log.
    """
    if command not in get_args(CampaignCommand):
        return
    campaign.state = "finished" if command == "stop" else "paused"
    campaign.cause = f"{command} asked by {by}" + (f": {argument}" if argument else "")
    if command == "stop":
        campaign.finished_at = now()


def count_pending_requests(session: Session, campaign_id: str) -> int:
    """Count the requests that are not handled yet."""
    query = select(func.count()).where(Control.campaign_id == campaign_id, Control.handled_at.is_(None))
    return session.scalar(query) or 0


def take_requests(session: Session, campaign_id: str, commands: Collection[str] = ()) -> list[ControlRequest]:
    """Return the unhandled requests, oldest first, and mark them as handled.

    Args:
        commands: only these; the others stay. Empty for all.
    """
    query = select(Control).where(Control.campaign_id == campaign_id, Control.handled_at.is_(None))
    if commands:
        query = query.where(Control.command.in_(commands))
    found = session.scalars(query.order_by(Control.id)).all()
    for request in found:
        request.handled_at = now()
    return [ControlRequest(request.id, request.command, request.argument, request.by) for request in found]
