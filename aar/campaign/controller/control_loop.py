"""What a controller does every moment: signs of life, requests, the clock, the diversity gauge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta
from functools import partial

from sqlalchemy.orm import Session

from aar.campaign.control import controller_lock
from aar.campaign.control.control_requests import Request, pending_requests, take_requests
from aar.campaign.costs.limit_alerts import BudgetWatch
from aar.campaign.diversity.entropy import DiversitySoFar, diversity_so_far, record_diversity, watch_fall
from aar.campaign.diversity.vendi_score import VendiGauge
from aar.campaign.lifecycle.ending import StopSignal
from aar.campaign.run_timer import Clock
from aar.campaign.runtime.incident_buffer import IncidentLog
from aar.campaign.runtime.service_restarts import FaultLog
from aar.campaign.views import working_researchers
from aar.errors import Conflict
from aar.store.database import Database
from aar.store.event_log import append_event

TICK_SECONDS = 0.5
_BEAT_SECONDS = 3.0
_TELL_SECONDS = 60.0


class Attendance:
    """Attends to one campaign until cancelled. What fails is told and tried again; nothing of it ends the campaign.

    Args:
        faults: what services died of; written to the log here.
        heed: carries out what is asked besides a pause or the end of the whole campaign.
        resting: ids of researchers whose time does not count now, as they wait for their model service.
    """

    def __init__(
        self,
        database: Database,
        campaign_id: str,
        clock: Clock,
        stop: StopSignal,
        incidents: IncidentLog,
        faults: FaultLog,
        budget: BudgetWatch,
        heed: Callable[[Request], Awaitable[None]],
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
        self._heed = heed
        self._resting = resting
        self._vendi = VendiGauge(database, campaign_id)
        self._diversity = DiversitySoFar()
        self._beaten = time.monotonic()

    async def run(self) -> None:
        """Attend until cancelled.

        Raises:
            Conflict: another controller took the campaign over.
        """
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self._try("requests", self._hear)
            await self._try("incidents", self.note_incidents)
            if time.monotonic() - self._beaten >= _BEAT_SECONDS:
                await self.beat()
                await self._try("budget watch", self._budget.look)
            if self._clock.expired() and self._stop.ending is None:
                await self._try("clock", self._time_is_up)

    async def beat(self) -> None:
        """Give a sign of life and book the time worked since the last one; then measure the diversity.

        Raises:
            Conflict: another controller took the campaign over.
        """
        await self._try("sign of life", self._book)
        await self._try("diversity gauge", self._measure)

    async def note_incidents(self) -> None:
        """Write down what the sandboxes told of, and what services died of."""
        if self._incidents:
            await self._database.write(lambda session: self._incidents.write(session, self._campaign_id))
        if self._faults:
            await write_faults(self._database, self._campaign_id, self._faults)

    async def _try(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do one of the things; an error is told, and the next moment tries again."""
        try:
            await work()
        except Conflict:
            raise
        except Exception as error:  # noqa: BLE001 - the hours must be attended to whatever else fails
            self._faults.note(name, error, "tried again", every=_TELL_SECONDS)

    async def _book(self) -> None:
        moment = time.monotonic()
        elapsed, resting = timedelta(seconds=moment - self._beaten), frozenset(self._resting)

        def write(session: Session) -> None:
            working = [each for each in working_researchers(session, self._campaign_id) if each not in resting]
            controller_lock.beat(session, self._campaign_id, working, elapsed)

        await self._database.write(write)
        self._beaten = moment

    async def _measure(self) -> None:
        vendi = await self._vendi.look()

        def write(session: Session) -> DiversitySoFar:
            record_diversity(session, self._campaign_id, vendi)
            found = diversity_so_far(session, self._campaign_id, self._diversity)
            watch_fall(session, self._campaign_id, found)
            return found

        # Kept only once it is committed: what a failed write logged was never there.
        self._diversity = await self._database.write(write)

    async def _hear(self) -> None:
        if not await self._database.read(lambda session: pending_requests(session, self._campaign_id)):
            return
        for request in await self._database.write(lambda session: take_requests(session, self._campaign_id)):
            if not obey(request, self._stop):
                await self._try(f"request {request.command}", partial(self._heed, request))

    async def _time_is_up(self) -> None:
        self._stop.finish(await self._database.write(lambda session: self._clock.record(session, self._campaign_id)))


def obey(request: Request, stop: StopSignal) -> bool:
    """Pause or stop the campaign if that is asked; returns whether it was."""
    cause = f"{request.command} asked by {request.by}"
    if request.command == "stop":
        stop.finish(cause)
    elif request.command == "pause":
        stop.pause(cause)
    else:
        return False
    return True


async def write_faults(database: Database, campaign_id: str, faults: FaultLog) -> None:
    """Write down what services died of."""
    taken = faults.take()

    def write(session: Session) -> None:
        for each in taken:
            append_event(session, campaign_id, each)

    await database.write(write)
