"""Asking a running campaign to do something, from any process that reaches its database."""

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
"""The command of a request that concerns one researcher; what is wished of it is in the log."""
HEARTBEAT_TIMEOUT = timedelta(seconds=20)
"""A controller that has not been heard of for so long is taken for dead."""


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """A request not yet handled."""

    id: int
    command: str
    argument: str
    """For one researcher, its name."""
    by: str


def is_controller_alive(campaign: Campaign) -> bool:
    """Whether some controller holds the campaign and gave a sign of life of late; a process known dead does not."""
    if not campaign.controller or campaign.heartbeat_at is None:
        return False
    return datetime.now(UTC) - campaign.heartbeat_at < HEARTBEAT_TIMEOUT and not is_dead_on_this_host(
        campaign.controller
    )


def controller_state(campaign: Campaign) -> ControllerState:
    """Whether a controller runs or starts the campaign, died while it did, or is neither there nor missed."""
    if is_controller_alive(campaign):
        return "alive"
    began = campaign.state == "running" or (campaign.state == "created" and bool(campaign.controller))
    return "lost" if began else "none"


def enqueue_request(
    session: Session, campaign: Campaign, asked: ControlRequested, researcher_id: str | None = None
) -> bool:
    """Write a request down, with who and when; returns whether a controller is there to hear it.

    What is asked is carried out from what the database holds (rows, spec, log), never from the request alone, so that a
    controller that was killed before it looked is followed by one that knows.
    """
    append_event(session, campaign.id, asked, researcher_id)
    if not is_controller_alive(campaign):
        return False
    command, argument = (RESEARCHER_COMMAND, asked.researcher) if researcher_id else (asked.command, asked.argument)
    session.add(Control(campaign_id=campaign.id, command=command, argument=argument, by=asked.by))
    return True


def request_command(session: Session, campaign_id: str, command: str, argument: str, by: str) -> bool:
    """Ask for ``pause`` or ``stop`` of a campaign; returns whether a controller is there to hear it.

    With no controller alive, a stop takes effect at once (the campaign becomes finished) and a pause likewise.

    Raises:
        NotFound: no such campaign.
        UsageError: no such command.
        Conflict: the campaign is over already.
    """
    if command not in get_args(CampaignCommand):
        raise UsageError(f"no command {command}", f"There are: {', '.join(get_args(CampaignCommand))}")
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
    """Pause or stop a campaign that no controller runs; other commands wait in the rows and the log."""
    if command not in get_args(CampaignCommand):
        return
    campaign.state = "finished" if command == "stop" else "paused"
    campaign.cause = f"{command} asked by {by}" + (f": {argument}" if argument else "")
    if command == "stop":
        campaign.finished_at = now()


def count_pending_requests(session: Session, campaign_id: str) -> int:
    """Number of requests not yet handled."""
    query = select(func.count()).where(Control.campaign_id == campaign_id, Control.handled_at.is_(None))
    return session.scalar(query) or 0


def take_requests(session: Session, campaign_id: str, commands: Collection[str] = ()) -> list[ControlRequest]:
    """Requests not yet handled, oldest first; they count as handled from now on.

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
