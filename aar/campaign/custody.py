"""Who runs a campaign: exactly one controller at a time, which shows that it lives."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from aar.campaign.control import controller_alive, take_requests
from aar.errors import Conflict
from aar.events import CampaignFinished, CampaignPaused, CampaignStarted
from aar.problems.protocol import Problem
from aar.scoring.versions import require_version
from aar.store.event_log import append
from aar.store.models import Campaign, Researcher
from aar.store.types import now

RESUMABLE = ("created", "running", "paused", "failed")
"""States from which a controller may take a campaign up; a failed one may have been mended meanwhile."""


def identity() -> str:
    """This process, as it signs campaigns: host, pid and the pid's start, which tells a reused pid apart."""
    return f"{socket.gethostname()}:{os.getpid()}:{_process_start(os.getpid())}"


def claim(session: Session, campaign_id: str, problem: Problem, *, sandbox: str, address: str) -> bool:
    """Take a campaign up; returns whether it had been started before.

    Raises:
        Conflict: another controller runs it, it is over, or it was begun under another version of its problem.
    """
    campaign = session.get_one(Campaign, campaign_id)
    if campaign.state not in RESUMABLE:
        raise Conflict(f"campaign {campaign_id} is {campaign.state}", "Start a new one with: aar start")
    if is_run(campaign):
        raise Conflict(
            f"campaign {campaign_id} is run by another controller ({campaign.controller})",
            f"Pause it first: aar pause {campaign_id}",
        )
    require_version(session, campaign_id, problem)
    resumed = campaign.started_at is not None
    campaign.controller = identity()
    campaign.heartbeat_at = now()
    campaign.started_at = campaign.started_at or now()
    campaign.state, campaign.cause = "running", ""
    campaign.sandbox, campaign.address = sandbox, address
    take_requests(session, campaign_id)  # what was asked of a former controller is not asked of this one
    append(session, campaign_id, CampaignStarted(pid=os.getpid(), sandbox=sandbox, resumed=resumed))
    return resumed


def is_run(campaign: Campaign) -> bool:
    """Whether some controller runs the campaign now, as far as can be known here."""
    return controller_alive(campaign) and not _is_dead_here(campaign.controller)


def beat(session: Session, campaign_id: str, working: list[str], elapsed: timedelta) -> None:
    """Give a sign of life, and add the time worked to the researchers at work.

    Raises:
        Conflict: another controller took the campaign over meanwhile.
    """
    holder = session.scalar(select(Campaign.controller).where(Campaign.id == campaign_id))
    if holder != identity():
        raise Conflict(f"campaign {campaign_id} was taken over by another controller ({holder})")
    session.execute(update(Campaign).where(Campaign.id == campaign_id).values(heartbeat_at=now()))
    if working:
        session.execute(
            update(Researcher)
            .where(Researcher.id.in_(working))
            .values(active_seconds=Researcher.active_seconds + elapsed.total_seconds())
        )


def let_go(session: Session, campaign_id: str, *, state: str, cause: str) -> None:
    """Write down how the campaign stands now that this controller leaves it: paused, finished or failed.

    A campaign that another controller took over meanwhile is left to it.
    """
    campaign = session.get_one(Campaign, campaign_id)
    if campaign.controller != identity():
        return
    campaign.state, campaign.cause = state, cause
    campaign.controller, campaign.address = "", ""
    campaign.heartbeat_at = now()
    if state == "paused":
        append(session, campaign_id, CampaignPaused(cause=cause))
        return
    campaign.finished_at = now()
    append(session, campaign_id, CampaignFinished(state="failed" if state == "failed" else "finished", cause=cause))


def _is_dead_here(controller: str) -> bool:
    """Whether the signature is of this host and of a process that is no more, so that nobody waits for a timeout."""
    host, pid, start = controller.rsplit(":", 2)
    return host == socket.gethostname() and _process_start(int(pid)) != start


def _process_start(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:  # noqa: PTH123 - not a file
            return stat.read().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        return "gone"
