"""The one place that knows which process runs a campaign: its lock, its heartbeat, and the requests to it.

Exactly one process runs a campaign at a time. Its heartbeat comes from a thread of its own, which neither a slow start
nor a busy loop stops.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args

import structlog
from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from aar.errors import Conflict, NotFound
from aar.events import CampaignFinished, CampaignPaused, CampaignStarted
from aar.problems.protocol import Problem
from aar.processes import HostProcess
from aar.redaction import without_database_address
from aar.scoring.submission_queue import check_problem_version
from aar.store.column_types import now
from aar.store.database import Database
from aar.store.event_log import append_event, lock_campaign
from aar.store.models import Campaign, Control, Researcher

log = structlog.get_logger(__name__)

RESUMABLE_STATES = ("created", "running", "paused", "failed")
"""States in which a controller may start or resume a campaign. The cause of a failed one may have been fixed meanwhile.
"""
ENDED_STATES = ("finished", "failed")
CampaignCommand = Literal["pause", "stop"]
ControllerState = Literal["alive", "lost", "none"]
HEARTBEAT_TIMEOUT = timedelta(seconds=20)
"""A controller without a heartbeat for this long counts as dead."""
_HEARTBEAT_SECONDS = 3.0
_STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """A control request that is not handled yet."""

    command: str
    argument: str
    """For one researcher, its name."""
    by: str


def campaign_not_found(name: str) -> NotFound:
    """Return the error for a campaign that does not exist."""
    return NotFound(f"no campaign {name}", "See `aar list`")


def load_campaign(session: Session, campaign_id: str, *, lock: bool = False) -> Campaign:
    """Return a campaign's row, as it is now.

    Args:
        lock: whether to lock it against other writers before it is read, until the transaction ends.

    Raises:
        NotFound: no such campaign.
    """
    if lock:
        lock_campaign(session, campaign_id)
    campaign = session.get(Campaign, campaign_id, populate_existing=lock)
    if campaign is None:
        raise campaign_not_found(campaign_id)
    return campaign


def controller_id(pid: int | None = None) -> str:
    """Return a process's id: host name, pid and start time.

    The start time distinguishes a reused pid. Without a pid, it is this process. Empty if there is no such process.
    """
    process = HostProcess.of(os.getpid() if pid is None else pid)
    return "" if process is None else f"{socket.gethostname()}:{process.pid}:{process.started}"


def is_controller_alive(campaign: Campaign) -> bool:
    """Return whether a controller holds the campaign and sent a heartbeat recently.

    A controller whose process is known to be dead is not alive.
    """
    if not campaign.controller or campaign.heartbeat_at is None:
        return False
    host, pid, started = campaign.controller.rsplit(":", 2)
    is_dead_here = host == socket.gethostname() and not HostProcess(int(pid), int(started)).alive()
    return not is_dead_here and now() - campaign.heartbeat_at < HEARTBEAT_TIMEOUT


def controller_state(campaign: Campaign) -> ControllerState:
    """Return the controller's state: ``alive``, ``lost`` or ``none``.

    A lost controller died while it ran or started the campaign. ``none`` means that no controller is needed.
    """
    if is_controller_alive(campaign):
        return "alive"
    began = campaign.state == "running" or (campaign.state == "created" and bool(campaign.controller))
    return "lost" if began else "none"


def reserve_campaign(session: Session, campaign_id: str, *, holder: str = "") -> Campaign:
    """Acquire a campaign's lock for one process before slow preparation.

    The holder may repeat it.

    From now on requests are for the holder, and every other controller is refused.

    Args:
        holder: the process, from ``controller_id``; empty for this one.

    Raises:
        Conflict: another controller holds it, or it is over.
    """
    holder = holder or controller_id()
    # Read under the lock, and again by the update: two concurrent claims never both succeed.
    campaign = load_campaign(session, campaign_id, lock=True)
    seen = campaign.controller
    if campaign.state not in RESUMABLE_STATES:
        raise Conflict(f"campaign {campaign_id} is {campaign.state}", "Start a new one with: aar start")
    if seen == holder:
        return campaign
    if is_controller_alive(campaign):
        raise _locked_campaign(campaign_id, seen)
    swap = (
        update(Campaign)
        .where(Campaign.id == campaign_id, Campaign.controller == seen)
        .values(controller=holder, heartbeat_at=now())
        .returning(Campaign.id)
    )
    if session.execute(swap).first() is None:
        raise _locked_campaign(campaign_id, "")
    session.refresh(campaign)
    take_requests(session, campaign_id)  # requests to an earlier controller do not apply to this one
    return campaign


def claim_campaign(session: Session, campaign_id: str, problem: Problem, *, sandbox: str, address: str) -> bool:
    """Start or resume a campaign in this process.

    Return whether it had been started before.

    Raises:
        Conflict: another controller holds it, it is over, or it was begun under another version of its problem.
    """
    campaign = reserve_campaign(session, campaign_id)
    check_problem_version(session, campaign_id, problem)
    resumed = campaign.started_at is not None
    campaign.heartbeat_at = now()
    campaign.started_at = campaign.started_at or now()
    campaign.state, campaign.cause = "running", ""
    campaign.sandbox, campaign.address = sandbox, address
    campaign.spec = without_database_address(campaign.spec)
    # A killed controller left them at work. Their time counts again once they work.
    at_work = (Researcher.campaign_id == campaign_id, Researcher.state.in_(("running", "waiting")))
    session.execute(update(Researcher).where(*at_work).values(state="paused", doing=""))
    append_event(session, campaign_id, CampaignStarted(pid=os.getpid(), sandbox=sandbox, resumed=resumed))
    return resumed


def renew_heartbeat(session: Session, campaign_id: str) -> bool:
    """Send a heartbeat; return whether this process still holds the campaign."""
    mine = (Campaign.id == campaign_id, Campaign.controller == controller_id())
    done = session.execute(update(Campaign).where(*mine).values(heartbeat_at=now()).returning(Campaign.id))
    return done.first() is not None


def record_heartbeat(session: Session, campaign_id: str, working: list[str], elapsed: timedelta) -> None:
    """Send a heartbeat, and add the elapsed time to the researchers at work.

    Raises:
        Conflict: another controller took the campaign over meanwhile.
    """
    if not renew_heartbeat(session, campaign_id):
        holder = session.scalar(select(Campaign.controller).where(Campaign.id == campaign_id))
        raise Conflict(f"campaign {campaign_id} was taken over by another controller ({holder})")
    if working:
        session.execute(
            update(Researcher)
            .where(Researcher.id.in_(working))
            .values(active_seconds=Researcher.active_seconds + elapsed.total_seconds())
        )


def release_campaign(
    session: Session, campaign_id: str, *, state: str, cause: str, seconds: float | None = None
) -> None:
    """Record a campaign's state as this controller leaves it: paused, finished or failed.

    A campaign that another controller took over meanwhile stays unchanged.

    Args:
        seconds: running time of this controller.
    """
    campaign = load_campaign(session, campaign_id, lock=True)
    if campaign.controller != controller_id():
        return
    campaign.state, campaign.cause = state, cause
    campaign.controller, campaign.address = "", ""
    campaign.heartbeat_at = now()
    if state == "paused":
        append_event(session, campaign_id, CampaignPaused(cause=cause, seconds=seconds))
        return
    campaign.finished_at = now()
    how: Literal["failed", "finished"] = "failed" if state == "failed" else "finished"
    append_event(session, campaign_id, CampaignFinished(state=how, cause=cause, seconds=seconds))


def cancel_reservation(session: Session, campaign_id: str) -> None:
    """Release a campaign that was held but never run.

    Apply a pause or stop requested meanwhile.
    """
    campaign = load_campaign(session, campaign_id, lock=True)
    if campaign.controller != controller_id():
        return
    campaign.controller = ""
    for request in take_requests(session, campaign_id):
        apply_without_controller(campaign, request.command, request.argument, request.by)


def _locked_campaign(campaign_id: str, controller: str) -> Conflict:
    who = f" ({controller})" if controller else ""
    return Conflict(
        f"campaign {campaign_id} is run by another controller{who}", f"Pause it first: aar pause {campaign_id}"
    )


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


def count_pending_requests(session: Session, campaign_id: str, commands: Collection[str] = ()) -> int:
    """Count the requests that are not handled yet.

    Args:
        commands: only these. Empty for all.
    """
    return session.scalar(select(func.count()).select_from(_pending(campaign_id, commands).subquery())) or 0


def take_requests(session: Session, campaign_id: str, commands: Collection[str] = ()) -> list[ControlRequest]:
    """Return the unhandled requests, oldest first, and mark them as handled.

    Args:
        commands: only these; the others stay. Empty for all.
    """
    found = session.scalars(_pending(campaign_id, commands).order_by(Control.id)).all()
    for request in found:
        request.handled_at = now()
    return [ControlRequest(request.command, request.argument, request.by) for request in found]


def _pending(campaign_id: str, commands: Collection[str]) -> Select[Control]:
    query = select(Control).where(Control.campaign_id == campaign_id, Control.handled_at.is_(None))
    return query.where(Control.command.in_(commands)) if commands else query


class Heartbeat:
    """Sends a heartbeat every few seconds between ``start`` and ``stop``.

    Args:
        database: where the campaign is.
        campaign_id: a campaign that this process holds.
        seconds: between two heartbeats.
    """

    def __init__(self, database: Database, campaign_id: str, *, seconds: float = _HEARTBEAT_SECONDS) -> None:
        self._database = database
        self._campaign_id = campaign_id
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat {campaign_id}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wait a bounded time for a heartbeat in progress."""
        self._over.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            try:
                is_held = self._database.write_now(lambda session: renew_heartbeat(session, self._campaign_id))
            except Exception as error:  # noqa: BLE001 - whatever it is, the next heartbeat may succeed
                log.warning("could not send a heartbeat", campaign=self._campaign_id, error=str(error))
                continue
            if not is_held:
                return


@contextmanager
def hold_campaign(database: Database, campaign_id: str) -> Iterator[None]:
    """Hold a campaign during slow preparation, and release it unless it was run meanwhile.

    Raises:
        Conflict: another controller holds it, or it is over.
    """
    database.write_now(lambda session: reserve_campaign(session, campaign_id))
    heartbeat = Heartbeat(database, campaign_id)
    heartbeat.start()
    try:
        yield
    finally:
        heartbeat.stop()
        try:
            database.write_now(lambda session: cancel_reservation(session, campaign_id))
        except Exception as error:  # noqa: BLE001 - this process ends, and a dead process holds nothing
            log.warning("could not release the campaign", campaign=campaign_id, error=str(error))
