"""The controller: takes one campaign up, runs its parts side by side, and leaves it in a state that can be told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aar.campaign import custody
from aar.campaign.attendance import Attendance
from aar.campaign.clock import Clock, seconds_run
from aar.campaign.crew import Crew
from aar.campaign.ending import Ending, StopSignal, natural_ending
from aar.campaign.housekeeping import remove_orphans, remove_own
from aar.campaign.preflight import Plan
from aar.campaign.workshop import Workshop, open_workshop
from aar.errors import AarError, LimitReached
from aar.forum.mirror import ForumMirror
from aar.store.database import Database
from aar.store.models import Campaign

_MIRROR_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Running:
    """A campaign under way, for those who watch or serve it.

    Args:
        address: where its pages are served; empty when nobody serves.
        resumed: whether a former controller had begun it.
        stop: tells once the campaign is asked to end, and why.
    """

    campaign_id: str
    plan: Plan
    address: str
    resumed: bool
    stop: StopSignal

    @property
    def database(self) -> Database:
        """The campaign's database."""
        return self.plan.database


Companion = Callable[[Running], Awaitable[None]]
"""Something that runs beside a campaign until it is cancelled: the live view, the web server."""


class Controller:
    """Runs one campaign that ``create_campaign`` wrote. Make it and run it in one event loop.

    Args:
        plan: what the campaign needs, checked.
        campaign_id: the campaign.
        address: where its pages are served; empty when nobody serves.
    """

    def __init__(self, plan: Plan, campaign_id: str, *, address: str = "") -> None:
        self.stop = StopSignal()
        self._plan = plan
        self._campaign_id = campaign_id
        self._address = address
        self._research_task: asyncio.Task[None] | None = None

    def abandon(self) -> None:
        """End at once: what is under way is lost as after a crash, and nothing else."""
        self.stop.pause("stopped at once")
        if self._research_task is not None:
            self._research_task.cancel()

    async def run(self, companions: Sequence[Companion] = ()) -> Ending:
        """Run the campaign until it ends; returns how.

        Raises:
            Conflict: another controller runs it, it is over, or it was begun under another version of its problem.
        """
        db = self._plan.database
        resumed = await db.write(
            lambda session: custody.claim(
                session, self._campaign_id, self._plan.problem, sandbox=self._plan.backend.name, address=self._address
            )
        )
        running = Running(self._campaign_id, self._plan, self._address, resumed, self.stop)
        beside = [asyncio.ensure_future(companion(running)) for companion in companions]
        ending = Ending("paused", "interrupted")
        try:
            self._research_task = asyncio.create_task(self._research())
            ending = await self._outcome(self._research_task)
        except AarError as error:
            ending = Ending("paused", str(error))
            raise
        finally:
            await db.write(
                lambda session: custody.let_go(session, self._campaign_id, state=ending.state, cause=ending.cause)
            )
            await cancel(beside)
        return ending

    async def _outcome(self, research: asyncio.Task[None]) -> Ending:
        try:
            await research
        except asyncio.CancelledError:
            if self.stop.ending is None:
                raise
        except BaseExceptionGroup as group:
            error = _first(group)
            if not isinstance(error, LimitReached):
                raise error from group
            self.stop.pause(str(error))
        if self.stop.ending is None:
            raise RuntimeError("the campaign came to rest without an ending")
        return self.stop.ending

    async def _research(self) -> None:
        db, plan = self._plan.database, self._plan
        await remove_orphans(plan.backend, db, self._campaign_id, plan.incidents)
        secret = await db.read(lambda session: session.get_one(Campaign, self._campaign_id).secret)
        before = await db.read(lambda session: seconds_run(session, self._campaign_id))
        clock = Clock(before, plan.spec.limits.hours)
        async with open_workshop(plan, self._campaign_id, secret, self.stop, clock) as workshop:
            crew = Crew(workshop, clock)
            attendance = Attendance(db, self._campaign_id, clock, self.stop, plan.incidents, workshop.budget, crew.heed)
            async with asyncio.TaskGroup() as group:
                services = [
                    group.create_task(service)
                    for service in (workshop.scorer.serve(), _keep_mirror(workshop.mirror), attendance.run())
                ]
                await self._live(workshop, crew)
                await cancel(services)
            await attendance.beat()
            # Such as the sandbox of a researcher that did not work again since the last pause.
            await remove_own(plan.backend, self._campaign_id, plan.incidents)
            await attendance.note_incidents()
            await workshop.mirror.sync()

    async def _live(self, workshop: Workshop, crew: Crew) -> None:
        outcomes = await crew.live()
        ending = self.stop.ending or natural_ending(outcomes)
        await self._unless_hurried(workshop.scorer.drain())
        if ending.state == "finished":
            await self._unless_hurried(self._look_closer(workshop, ending))
        if self.stop.ending is None:
            self.stop.ending = ending

    async def _look_closer(self, workshop: Workshop, ending: Ending) -> None:
        """Confirm the winners; what does not fit the budget is left in the queue, and the ending says so."""
        scoring = self._plan.spec.scoring
        if scoring.confirm_top == 0:
            return
        left = await workshop.scorer.finish(scoring.confirm_top, scoring.transfer_top)
        if left and (self.stop.ending is None or self.stop.ending.state == "finished"):
            self.stop.ending = replace(ending, cause=f"{ending.cause}; {left}")

    async def _unless_hurried(self, work: Coroutine[Any, Any, None]) -> None:
        """What the researchers were promised is done to its end, unless a person is in a hurry."""
        draining: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(work),
            asyncio.ensure_future(self.stop.hurry.wait()),
        ]
        try:
            await asyncio.wait(draining, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(draining)


async def cancel(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait until they are gone; an error that one of them died of before is raised."""
    died = [task for task in tasks if task.done() and not task.cancelled() and task.exception() is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in died:
        task.result()


async def _keep_mirror(mirror: ForumMirror) -> None:
    while True:
        await mirror.sync()
        await asyncio.sleep(_MIRROR_SECONDS)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error of a person's interest: one of ours if there is one, else the first."""
    flat: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        else:
            flat.append(error)
    return next((error for error in flat if isinstance(error, AarError)), flat[0])
