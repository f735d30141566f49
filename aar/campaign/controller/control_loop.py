"""The controller's periodic loop: heartbeat, control requests, limits, diversity measurement.

During preparation it only applies pauses and stops, at the first possible moment. Alerts say how far limits are used,
and each researcher gets a notice near the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from decimal import Decimal
from functools import partial

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.budget.ledger import Ledger
from aar.budget.limits import CAMPAIGN, LimitUsage
from aar.campaign import controller_lock
from aar.campaign.controller.service_restarts import FaultBuffer, IncidentBuffer
from aar.campaign.controller_lock import ControlRequest, count_pending_requests, take_requests
from aar.campaign.costs import forecast_budget
from aar.campaign.diversity import (
    DiversityHistory,
    VendiMonitor,
    log_low_diversity,
    read_diversity_history,
    record_diversity,
)
from aar.campaign.lifecycle import StopSignal
from aar.campaign.running_time import RunTimer
from aar.campaign.views import working_researcher_ids
from aar.errors import Conflict
from aar.events import LimitNear
from aar.store.database import Database
from aar.store.event_log import append_event
from aar.store.models import EventRecord, Submission

TICK_SECONDS = 0.5
_HEARTBEAT_SECONDS = 3.0
_REPEAT_SECONDS = 60.0
_COMMANDS = ("pause", "stop")
ALERT_PERCENTS = (50, 80, 95)
"""Percentages of a limit at which an alert is logged, once each."""
SOFT_LANDING_SHARE = Decimal("0.9")
"""Share of a limit at which researchers are asked to write up."""
_LANDING_SECONDS = 90.0
"""Seconds reserved for writing up in a short campaign, where a tenth of its hours would be less."""
_RATES = frozenset({"usd_per_agent_hour"})
"""Limits that free themselves; researchers wait for them instead of writing up."""


class ControlLoop:
    """The periodic work of one campaign, repeated until cancelled.

    A step that fails is logged and tried again; it never ends the campaign.

    Args:
        faults: errors of services; written to the log here.
        apply_request: applies every request except a pause or stop of the whole campaign.
        resting: ids of researchers that wait for their provider; their time does not count.
    """

    def __init__(
        self,
        database: Database,
        campaign_id: str,
        timer: RunTimer,
        stop: StopSignal,
        incidents: IncidentBuffer,
        faults: FaultBuffer,
        limit_monitor: LimitMonitor,
        apply_request: Callable[[ControlRequest], Awaitable[None]],
        resting: Collection[str],
    ) -> None:
        self._database = database
        self._incidents = incidents
        self._faults = faults
        self._campaign_id = campaign_id
        self._timer = timer
        self._stop = stop
        self._limit_monitor = limit_monitor
        self._apply_request = apply_request
        self._resting = resting
        self._vendi = VendiMonitor(database, campaign_id)
        self._diversity = DiversityHistory()
        self._last_heartbeat = time.monotonic()

    async def run(self) -> None:
        """Repeat the work until cancelled.

        Raises:
            Conflict: another controller took the campaign over.
        """
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self._try("requests", self._handle_requests)
            await self._try("incidents", self.log_incidents)
            if time.monotonic() - self._last_heartbeat >= _HEARTBEAT_SECONDS:
                await self.send_heartbeat()
                await self._try("limit alerts", self._limit_monitor.check)
            if self._timer.expired() and self._stop.ending is None:
                await self._try("time limit", self._end_on_time_limit)

    async def send_heartbeat(self) -> None:
        """Send a heartbeat and add the time worked since the last one.

        Then measure the diversity.

        Raises:
            Conflict: another controller took the campaign over.
        """
        await self._try("heartbeat", self._record_time)
        await self._try("diversity", self._measure)

    async def log_incidents(self) -> None:
        """Log the incidents of sandboxes and the errors of services."""
        if self._incidents:
            await self._database.write(lambda session: self._incidents.write(session, self._campaign_id))
        if self._faults:
            await log_faults(self._database, self._campaign_id, self._faults)

    async def _try(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run one step; log an error, and try again in the next round."""
        try:
            await work()
        except Conflict:
            raise
        except Exception as error:  # noqa: BLE001 - the time limit must be checked even if another step fails
            self._faults.add_fault(name, error, "tried again", every=_REPEAT_SECONDS)

    async def _record_time(self) -> None:
        moment = time.monotonic()
        elapsed, resting = timedelta(seconds=moment - self._last_heartbeat), frozenset(self._resting)

        def write(session: Session) -> None:
            working = [each for each in working_researcher_ids(session, self._campaign_id) if each not in resting]
            controller_lock.record_heartbeat(session, self._campaign_id, working, elapsed)

        await self._database.write(write)
        self._last_heartbeat = moment

    async def _measure(self) -> None:
        vendi = await self._vendi.measure()

        def write(session: Session) -> DiversityHistory:
            record_diversity(session, self._campaign_id, vendi)
            found = read_diversity_history(session, self._campaign_id, self._diversity)
            log_low_diversity(session, self._campaign_id, found)
            return found

        # Store it after the commit only: a failed write logged nothing.
        self._diversity = await self._database.write(write)

    async def _handle_requests(self) -> None:
        if not await self._database.read(lambda session: count_pending_requests(session, self._campaign_id)):
            return
        for request in await self._database.write(lambda session: take_requests(session, self._campaign_id)):
            if not apply_stop_request(request, self._stop):
                await self._try(f"request {request.command}", partial(self._apply_request, request))

    async def _end_on_time_limit(self) -> None:
        self._stop.finish(
            await self._database.write(lambda session: self._timer.log_time_limit(session, self._campaign_id))
        )


def apply_stop_request(request: ControlRequest, stop: StopSignal) -> bool:
    """Apply a request to pause or stop the campaign; return whether it was one."""
    cause = f"{request.command} asked by {request.by}"
    if request.command == "stop":
        stop.finish(cause)
    elif request.command == "pause":
        stop.pause(cause)
    else:
        return False
    return True


async def log_faults(database: Database, campaign_id: str, faults: FaultBuffer) -> None:
    """Log the errors of services."""
    taken = faults.drain()

    def write(session: Session) -> None:
        for each in taken:
            append_event(session, campaign_id, each)

    await database.write(write)


async def wait_for_early_stop(database: Database, campaign_id: str, stop: StopSignal) -> None:
    """Return once the campaign is to end before it is ready.

    Cancel this when it is ready.

    A stop with unscored submissions is only noted: they are scored first, which needs a complete preparation.
    """
    noted = False
    while stop.ending is None or noted:
        if await database.read(lambda session: count_pending_requests(session, campaign_id, _COMMANDS)):
            for request in await database.write(lambda session: take_requests(session, campaign_id, _COMMANDS)):
                apply_stop_request(request, stop)
        if stop.ending is not None:
            noted = await database.read(lambda session: _has_submissions(session, campaign_id))
            if stop.ending.state == "paused" or not noted:
                return
        await asyncio.sleep(TICK_SECONDS)


def _has_submissions(session: Session, campaign_id: str) -> bool:
    query = select(func.count()).select_from(Submission).where(Submission.campaign_id == campaign_id)
    return bool(session.scalar(query))


class LimitMonitor:
    """Checks the limits of one campaign.

    Args:
        ledger: of the campaign.
        timer: its time limit.
    """

    def __init__(self, db: Database, campaign_id: str, ledger: Ledger, timer: RunTimer) -> None:
        self._db = db
        self._campaign_id = campaign_id
        self._ledger = ledger
        self._timer = timer
        self._logged: set[tuple[str, int]] | None = None

    async def check(self) -> None:
        """Log each newly passed threshold of a campaign limit, once per campaign."""
        if self._logged is None:
            self._logged = await self._db.read(lambda session: _logged_alerts(session, self._campaign_id))
        for usage in await self._limit_usages(None):
            percent = _percent(usage)
            passed = [
                alert for alert in ALERT_PERCENTS if percent >= alert and (usage.limit, alert) not in self._logged
            ]
            if passed:
                self._logged |= {(usage.limit, alert) for alert in passed}
                await self._db.write(partial(self._log_alert, usage=usage, percent=passed[-1]))

    async def approaching_limit(self, researcher_id: str) -> str | None:
        """Return a text about the limit that a researcher will soon reach.

        It is None if there is room.
        """
        near = [
            usage
            for usage in await self._limit_usages(researcher_id)
            if usage.limit not in _RATES and _needs_soft_landing(usage)
        ]
        return "; ".join(_describe_limit(usage) for usage in near) or None

    async def _limit_usages(self, researcher_id: str | None) -> list[LimitUsage]:
        found = await self._ledger.limit_usages(researcher_id)
        if self._timer.limit_hours is not None:
            found.append(
                LimitUsage(
                    CAMPAIGN, "hours", Decimal(str(self._timer.limit_hours)), Decimal(str(self._timer.seconds / 3600))
                )
            )
        return found

    def _log_alert(self, session: Session, usage: LimitUsage, percent: int) -> None:
        ahead = forecast_budget(session, self._campaign_id, self._ledger.limits)
        near = LimitNear(
            limit=usage.limit,
            percent=percent,
            ceiling=usage.ceiling,
            committed=round(usage.committed, 6),
            hours_left=None if ahead.hours_left is None else round(ahead.hours_left, 2),
        )
        append_event(session, self._campaign_id, near)


def _logged_alerts(session: Session, campaign_id: str) -> set[tuple[str, int]]:
    payloads = session.scalars(
        select(EventRecord.payload).where(EventRecord.campaign_id == campaign_id, EventRecord.kind == "limit_near")
    )
    return {
        (payload["limit"], alert) for payload in payloads for alert in ALERT_PERCENTS if alert <= payload["percent"]
    }


def _percent(usage: LimitUsage) -> Decimal:
    return 100 * usage.committed / usage.ceiling if usage.ceiling else Decimal(100)


def _needs_soft_landing(usage: LimitUsage) -> bool:
    if usage.limit == "hours":
        reserved = max(
            (1 - SOFT_LANDING_SHARE) * usage.ceiling,
            min(Decimal(str(_LANDING_SECONDS / 3600)), usage.ceiling / 4),
        )
        return usage.left <= reserved
    return _percent(usage) >= 100 * SOFT_LANDING_SHARE


def _describe_limit(usage: LimitUsage) -> str:
    if usage.limit == "hours":
        return f"{float(usage.left) * 60:.0f} minutes of the campaign are left"
    whose = "of the campaign" if usage.scope == CAMPAIGN else "of yours"
    return f"{_percent(usage):.0f} % of the limit {usage.limit} {whose} is spent or reserved"
