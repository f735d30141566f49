"""Control requests: pause, stop or change a campaign from any process with its database."""

from __future__ import annotations

from typing import get_args

from sqlalchemy.orm import Session

from aar.campaign.control.controller_lock import CampaignCommand, apply_without_controller, is_controller_alive
from aar.errors import Conflict, NotFound, UsageError
from aar.events import ControlRequested
from aar.store.event_log import append_event, lock_campaign
from aar.store.models import Campaign, Control

RESEARCHER_COMMAND = "researcher"
"""The command of a request that concerns one researcher. Its desired state is in the log."""


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
