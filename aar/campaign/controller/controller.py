"""The controller: starts or resumes a campaign, runs its services, records its ending."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog
from sqlalchemy import select

from aar.campaign import controller_lock
from aar.campaign.controller.control_loop import TICK_SECONDS, ControlLoop, log_faults, wait_for_early_stop
from aar.campaign.controller.orphan_cleanup import remove_campaign_sandboxes, remove_orphan_sandboxes
from aar.campaign.controller.researcher_pool import ResearcherPool
from aar.campaign.controller.runtime import CampaignRuntime, open_runtime
from aar.campaign.controller.service_restarts import MAX_FAILING_SECONDS, FaultBuffer, retry_write, run_with_restarts
from aar.campaign.controller_lock import Heartbeat
from aar.campaign.lifecycle import CampaignEnding, StopSignal, ending_of_outcomes
from aar.campaign.preflight import CampaignPlan
from aar.campaign.running_time import RunTimer, read_running_time
from aar.concurrency import best_effort, log_failure
from aar.errors import AarError, GatewayError, LimitReached, ModelUnavailable, find_disk_full
from aar.forum.mirror import ForumMirror
from aar.llm.api_errors import ServiceUnreachable
from aar.store.database import Database
from aar.store.models import Campaign, EventRecord

log = structlog.get_logger(__name__)

_MIRROR_SECONDS = 0.5
_COMPANION_TRIES = 5
_ENDING_SECONDS = 120.0
_END_SECONDS = 20.0
_SWEEP_SECONDS = 60.0
"""Longest time that the removal of orphans may delay a campaign's start or end."""


@dataclass(frozen=True, slots=True)
class RunningCampaign:
    """A campaign under way, for its companions.

    Args:
        address: of its pages; empty when they are not served.
        resumed: whether a former controller had begun it.
        stop: set once the campaign is to end, with the reason.
    """

    campaign_id: str
    plan: CampaignPlan
    address: str
    resumed: bool
    stop: StopSignal

    @property
    def database(self) -> Database:
        """Return the campaign's database."""
        return self.plan.database


CampaignCompanion = Callable[[RunningCampaign], Awaitable[None]]
"""A service that runs beside a campaign until it is cancelled: the live view, the web server. One that dies is
restarted a few times, and never affects the campaign."""


class Controller:
    """Runs one campaign that ``create_campaign`` wrote. Create and run it in one event loop.

    Args:
        plan: the checked plan of the campaign.
        campaign_id: the campaign.
        address: of its pages; empty when they are not served.
    """

    def __init__(self, plan: CampaignPlan, campaign_id: str, *, address: str = "") -> None:
        self.stop = StopSignal()
        self._plan = plan
        self._campaign_id = campaign_id
        self._address = address
        self._research_task: asyncio.Task[None] | None = None
        self._claimed = 0.0
        self._faults = FaultBuffer()

    def abort(self) -> None:
        """End at once; only work in progress is lost, as after a crash."""
        self.stop.pause("stopped at once")
        if self._research_task is not None:
            self._research_task.cancel()

    async def run(self, companions: Sequence[CampaignCompanion] = ()) -> CampaignEnding:
        """Run the campaign until it ends; return its ending.

        A companion never changes the ending, and none of its errors is raised.

        Raises:
            Conflict: another controller runs it, it is over, or it was begun under another version of its problem.
            AarError: something that the campaign needs broke; it is paused.
        """
        db, campaign_id = self._plan.database, self._campaign_id
        resumed = await db.write(
            lambda session: controller_lock.claim_campaign(
                session, campaign_id, self._plan.problem, sandbox=self._plan.backend.name, address=self._address
            )
        )
        self._claimed = time.monotonic()
        self._faults.reserve.refill()
        heartbeat = Heartbeat(db, campaign_id)
        heartbeat.start()
        running = RunningCampaign(campaign_id, self._plan, self._address, resumed, self.stop)
        companion_tasks = [asyncio.create_task(self._run_companion(companion, running)) for companion in companions]
        ending = CampaignEnding("paused", "interrupted")
        try:
            self._research_task = asyncio.create_task(self._research())
            ending = await self._outcome(self._research_task)
        except AarError as error:
            is_final = isinstance(error, GatewayError) and not await self._ever_answered()
            ending = CampaignEnding("failed" if is_final else "paused", str(find_disk_full(error) or error))
            raise
        except Exception as error:
            full = find_disk_full(error)
            ending = CampaignEnding("paused", f"{type(error).__name__}: {error}" if full is None else str(full))
            if full is not None:
                raise full from error
            raise
        finally:
            await self._record_ending(ending)
            await asyncio.to_thread(heartbeat.stop)
            await best_effort(
                _cancel_tasks(companion_tasks),
                log_failure("companions of the campaign did not end in time"),
                seconds=_END_SECONDS,
            )
            self._faults.reserve.release()
        return ending

    async def _run_companion(self, companion: CampaignCompanion, running: RunningCampaign) -> None:
        name = getattr(companion, "__name__", "companion").strip("_").replace("_", " ")
        await run_with_restarts(name, lambda: companion(running), self._faults, needed=False, tries=_COMPANION_TRIES)

    async def _record_ending(self, ending: CampaignEnding) -> None:
        """Record the ending and the remaining errors of services.

        It waits for a busy database as long as necessary.
        """

        seconds = round(time.monotonic() - self._claimed, 3)

        async def write() -> None:
            await self._plan.database.write(
                lambda session: controller_lock.release_campaign(
                    session, self._campaign_id, state=ending.state, cause=ending.cause, seconds=seconds
                )
            )

        with suppress(Exception):
            await log_faults(self._plan.database, self._campaign_id, self._faults)
        try:
            await retry_write("ending", write, self._faults, seconds=_ENDING_SECONDS)
        except Exception:  # without an ending its controller counts as dead: the next resume continues it
            log.exception("could not record the ending", campaign=self._campaign_id, state=ending.state)

    async def _outcome(self, research: asyncio.Task[None]) -> CampaignEnding:
        try:
            await research
        except asyncio.CancelledError:
            if self.stop.ending is None:
                raise
        except BaseExceptionGroup as group:
            error = _first_error(group)
            if isinstance(error, ModelUnavailable) and await self._ever_answered():
                self.stop.pause(f"the model service is away: {error.message}")
            elif isinstance(error, LimitReached):
                self.stop.pause(str(error))
            else:
                raise error from error.__cause__
        if self.stop.ending is None:
            raise RuntimeError("the campaign stopped without an ending")
        return self.stop.ending

    async def _research(self) -> None:
        """Prepare the campaign and let the team work, unless the end is requested meanwhile."""
        db = self._plan.database
        early_requests = asyncio.create_task(
            run_with_restarts(
                "requests", lambda: wait_for_early_stop(db, self._campaign_id, self.stop), self._faults, needed=False
            )
        )
        logging_faults = asyncio.create_task(
            run_with_restarts("events", self._log_early_faults, self._faults, needed=False)
        )
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(None) as opening:

                    def end_early(_: asyncio.Future[None]) -> None:
                        if self.stop.ending is not None:
                            opening.reschedule(asyncio.get_running_loop().time())

                    early_requests.add_done_callback(end_early)
                    try:
                        runtime = await self._open_runtime(stack)
                    finally:
                        early_requests.remove_done_callback(end_early)
            except TimeoutError:
                if not opening.expired():
                    raise
                return
            finally:
                await _cancel_tasks([early_requests, logging_faults])
            await self._work(runtime)

    async def _log_early_faults(self) -> None:
        """Log outages during preparation until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if self._faults:
                await log_faults(self._plan.database, self._campaign_id, self._faults)

    async def _open_runtime(self, stack: AsyncExitStack) -> CampaignRuntime:
        db, plan = self._plan.database, self._plan
        await best_effort(
            remove_orphan_sandboxes(plan.backend, db, self._campaign_id, plan.incidents),
            partial(self._faults.add_fault, "removal of old sandboxes", then="left for the next start"),
            seconds=_SWEEP_SECONDS,
        )
        secret = await db.read(lambda session: session.get_one(Campaign, self._campaign_id).secret)
        before = await db.read(lambda session: read_running_time(session, self._campaign_id).seconds)
        timer = RunTimer(before, plan.spec.limits.hours)
        # A service that answered before has an outage; one that never did may have a wrong address.
        patient = await self._ever_answered()
        runtime = open_runtime(plan, self._campaign_id, secret, self.stop, timer, self._faults, patient=patient)
        return await stack.enter_async_context(runtime)

    async def _work(self, runtime: CampaignRuntime) -> None:
        """Run the team with its services; ``service_restarts`` defines the effect of each failure."""
        db, plan, faults = self._plan.database, self._plan, self._faults
        pool = ResearcherPool(runtime)
        control_loop = ControlLoop(
            db,
            self._campaign_id,
            runtime.timer,
            self.stop,
            plan.incidents,
            faults,
            runtime.limit_monitor,
            pool.apply_request,
            runtime.resting,
        )
        async with asyncio.TaskGroup() as group:
            services = [
                group.create_task(service)
                for service in (
                    run_with_restarts("scorer", runtime.scorer.serve, faults, needed=True),
                    run_with_restarts("forum mirror", lambda: _update_mirror(runtime.mirror), faults, needed=False),
                    control_loop.run(),
                )
            ]
            await self._run_team(runtime, pool)
            await _cancel_tasks(services)
        await control_loop.send_heartbeat()

        async def remove() -> object:
            # Such as the sandbox of a researcher that has not worked since the last pause.
            return await remove_campaign_sandboxes(plan.backend, self._campaign_id, plan.incidents)

        for name, last in (
            ("removal of sandboxes", remove),
            ("incidents", control_loop.log_incidents),
            ("forum mirror", runtime.mirror.sync),
        ):
            # The ending is known; the next start completes this.
            on_failure = partial(faults.add_fault, name, then="left for the next start")
            await best_effort(last(), on_failure, seconds=_SWEEP_SECONDS)

    async def _run_team(self, runtime: CampaignRuntime, pool: ResearcherPool) -> None:
        outcomes = await pool.run()
        ending = self.stop.ending or ending_of_outcomes(outcomes)
        outage = runtime.gateways.current_outage
        if ending.state == "finished" and runtime.timer.expired() and outage is not None:
            ending = self.stop.ending = await self._time_limit_ending(ending, outage)
        await self._unless_pausing("scoring of submissions", runtime.scorer.drain)
        if ending.state == "finished":
            await self._unless_pausing("confirmations", lambda: self._confirm_winners(runtime, ending))
        if self.stop.ending is None:
            self.stop.ending = ending

    async def _time_limit_ending(self, ending: CampaignEnding, outage: GatewayError) -> CampaignEnding:
        """Return the ending of a campaign whose time ran out during an outage."""
        if isinstance(outage, ServiceUnreachable) and not await self._ever_answered():
            return CampaignEnding("failed", f"no model call ever succeeded: {outage}")
        return CampaignEnding("paused", f"{ending.cause} while the model service was away: {outage.message}")

    async def _ever_answered(self) -> bool:
        """Return whether any model call of the campaign brought a turn.

        It is True if this is not known.
        """
        turns = select(EventRecord.id).where(
            EventRecord.campaign_id == self._campaign_id, EventRecord.kind == "turn_received"
        )
        try:
            return await self._plan.database.read(lambda session: session.scalars(turns.limit(1)).first() is not None)
        except AarError:
            return True

    async def _confirm_winners(self, runtime: CampaignRuntime, ending: CampaignEnding) -> None:
        """Confirm the winners.

        The ending names those that stay queued because the budget is used up.
        """
        scoring = self._plan.spec.scoring
        if scoring.confirm_top == 0:
            return
        left = await runtime.scorer.finish(scoring.confirm_top, scoring.transfer_top)
        if left and (self.stop.ending is None or self.stop.ending.state == "finished"):
            self.stop.ending = replace(ending, cause=f"{ending.cause}; {left}")

    async def _unless_pausing(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for ``work``, unless a pause was requested (then leave it for resume).

        Raises: errors of ``work`` that do not pass by themselves.
        """
        task = asyncio.ensure_future(retry_write(name, work, self._faults, seconds=MAX_FAILING_SECONDS))
        hurry = asyncio.ensure_future(self.stop.hurry.wait())
        try:
            await asyncio.wait([task, hurry], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancel_tasks([task, hurry])
        if not task.cancelled():
            task.result()


async def _cancel_tasks(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait until they are gone.

    An error of a task is raised where that task is awaited, or logged.
    """
    for task in tasks:
        task.cancel()
    for task, died in zip(tasks, await asyncio.gather(*tasks, return_exceptions=True), strict=True):
        if isinstance(died, Exception):
            log.warning("a service ended with an error", part=str(task), error=str(died))


async def _update_mirror(mirror: ForumMirror) -> None:
    while True:
        await mirror.sync()
        await asyncio.sleep(_MIRROR_SECONDS)


def _first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error to show to people: the first AarError, else the first one."""
    flat: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        else:
            flat.append(error)
    return next((error for error in flat if isinstance(error, AarError)), flat[0])
