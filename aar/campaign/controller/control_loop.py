"""The controller's periodic loop: heartbeat, control requests, time limit, diversity measurement."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from functools import partial

from sqlalchemy.orm import Session

from aar.campaign.control import controller_lock
from aar.campaign.control.controller_lock import ControlRequest, count_pending_requests, take_requests
from aar.campaign.costs.limit_alerts import LimitMonitor
from aar.campaign.diversity.entropy import DiversityHistory, log_low_diversity, read_diversity_history, record_diversity
from aar.campaign.diversity.vendi_score import VendiMonitor
from aar.campaign.lifecycle.ending import StopSignal
from aar.campaign.run_timer import RunTimer
from aar.campaign.runtime.incident_buffer import IncidentBuffer
from aar.campaign.runtime.service_restarts import FaultBuffer
from aar.campaign.views import working_researcher_ids
from aar.errors import Conflict
from aar.store.database import Database
from aar.store.event_log import append_event

TICK_SECONDS = 0.5
_HEARTBEAT_SECONDS = 3.0
_TELL_SECONDS = 60.0


class ControlLoop:
    """The periodic work of one campaign, repeated until cancelled.

    A step that fails is logged and tried again; it never ends the campaign.

    Args:
        faults: errors of services; written to the log here.
        heed: applies every request except a pause or stop of the whole campaign.
        resting: ids of researchers that wait for their provider; their time does not count.
    """

    def __init__(
        self,
        database: Database,
        campaign_id: str,
        clock: RunTimer,
        stop: StopSignal,
        incidents: IncidentBuffer,
        faults: FaultBuffer,
        budget: LimitMonitor,
        heed: Callable[[ControlRequest], Awaitable[None]],
        *,
        resting: Collection[str] = (),
    ) -> None:
        self._database = database
        self._incidents = incidents
        self._faults = faults
        self._campaign_id = campaign_id
        self._clock = clock
        self._stop = stop
        self._budget = budget
        self._apply_request = heed
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
                await self._try("budget watch", self._budget.check)
            if self._clock.expired() and self._stop.ending is None:
                await self._try("clock", self._end_on_time_limit)

    async def send_heartbeat(self) -> None:
        """Send a heartbeat and add the time worked since the last one.

        Then measure the diversity.

        Raises:
            Conflict: another controller took the campaign over.
        """
        await self._try("sign of life", self._record_time)
        await self._try("diversity gauge", self._measure)

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
            self._faults.add_fault(name, error, "tried again", every=_TELL_SECONDS)

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
            await self._database.write(lambda session: self._clock.log_time_limit(session, self._campaign_id))
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
