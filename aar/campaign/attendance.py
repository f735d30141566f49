"""What a controller does every moment: signs of life, requests, the clock, the diversity gauge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from sqlalchemy.orm import Session

from aar.campaign import custody
from aar.campaign.budget_watch import BudgetWatch
from aar.campaign.clock import Clock
from aar.campaign.control import Request, pending_requests, take_requests
from aar.campaign.diversity import record_diversity, watch_fall
from aar.campaign.ending import StopSignal
from aar.campaign.incident_log import IncidentLog
from aar.campaign.vendi import VendiGauge
from aar.campaign.views import working_researchers
from aar.store.database import Database

_TICK_SECONDS = 0.5
_BEAT_SECONDS = 3.0


class Attendance:
    """Attends to one campaign until cancelled.

    Args:
        heed: carries out what is asked besides a pause or the end of the whole campaign.
    """

    def __init__(
        self,
        database: Database,
        campaign_id: str,
        clock: Clock,
        stop: StopSignal,
        incidents: IncidentLog,
        budget: BudgetWatch,
        heed: Callable[[Request], Awaitable[None]],
    ) -> None:
        self._database = database
        self._incidents = incidents
        self._campaign_id = campaign_id
        self._clock = clock
        self._stop = stop
        self._budget = budget
        self._heed = heed
        self._vendi = VendiGauge(database, campaign_id)
        self._beaten = time.monotonic()

    async def run(self) -> None:
        """Attend until cancelled.

        Raises:
            Conflict: another controller took the campaign over.
        """
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            await self._hear()
            await self.note_incidents()
            if time.monotonic() - self._beaten >= _BEAT_SECONDS:
                await self.beat()
                await self._budget.look()
            if self._clock.expired() and self._stop.ending is None:
                self._stop.finish(await self._database.write(self._record_time))

    async def beat(self) -> None:
        """Give a sign of life and book the time worked since the last one."""
        moment = time.monotonic()
        elapsed, self._beaten = timedelta(seconds=moment - self._beaten), moment
        vendi = await self._vendi.look()

        def write(session: Session) -> None:
            custody.beat(session, self._campaign_id, working_researchers(session, self._campaign_id), elapsed)
            record_diversity(session, self._campaign_id, vendi)
            watch_fall(session, self._campaign_id)

        await self._database.write(write)

    async def note_incidents(self) -> None:
        """Write down what the sandboxes told of."""
        if self._incidents:
            await self._database.write(lambda session: self._incidents.write(session, self._campaign_id))

    async def _hear(self) -> None:
        if not await self._database.read(lambda session: pending_requests(session, self._campaign_id)):
            return
        for request in await self._database.write(lambda session: take_requests(session, self._campaign_id)):
            cause = f"{request.command} asked by {request.by}"
            if request.command == "stop":
                self._stop.finish(cause)
            elif request.command == "pause":
                self._stop.pause(cause)
            else:
                await self._heed(request)

    def _record_time(self, session: Session) -> str:
        return self._clock.record(session, self._campaign_id)
