"""Supervises one researcher: its sandbox, its loop, its compute meter, and its recorded outcome."""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import Any

import structlog
from sqlalchemy.orm import Session

from aar.campaign.costs.compute_meter import meter_compute
from aar.campaign.directions import Direction
from aar.campaign.researchers.reconciler import ResearcherSignal
from aar.campaign.researchers.sandbox_provider import SandboxProvider
from aar.campaign.runtime.campaign_runtime import CampaignRuntime
from aar.campaign.runtime.service_restarts import HEALTHY_SECONDS, MAX_FAILING_SECONDS, RestartBackoff, retry_write
from aar.campaign.views import ResearcherView
from aar.concurrency import best_effort, log_failure
from aar.errors import AarError, Conflict, LimitReached, find_disk_full, is_transient
from aar.events import ResearcherStarted, ResearcherStateChanged
from aar.researcher.context import ModelOptions, ResearcherContext, ResearcherOutcome
from aar.researcher.loop import run_researcher
from aar.researcher.tools.executor import answer_interrupted_calls
from aar.sandbox.leases import Lease
from aar.sandbox.protocol import SandboxSpec
from aar.store.event_log import append_event
from aar.store.models import Researcher

log = structlog.get_logger(__name__)

_STATE_AFTER = {"finished": "finished", "paused": "paused", "limit": "paused", "away": "paused", "failed": "failed"}
_RESTARTS = 3
_RESTART_SECONDS = 1.0
_GIB = 1024**3


class ResearcherSupervisor:
    """Runs one researcher within a campaign.

    An agent loop that dies of an unexpected error is restarted from its events, a few times and with growing pauses. An
    error that names its cause (a refused key, say) ends it at once.

    Args:
        signal: requests its end.
    """

    def __init__(self, workshop: CampaignRuntime, view: ResearcherView, signal: ResearcherSignal) -> None:
        self._workshop = workshop
        self._view = view
        self._signal = signal
        self._begun = False
        self._held = contextlib.AsyncExitStack()

    async def run(self) -> ResearcherOutcome:
        """Run until the researcher finishes, fails, reaches a limit, or the campaign ends."""
        outcome = ResearcherOutcome("paused", "interrupted")
        try:
            outcome = await self._run_through_scarcity()
        except LimitReached as error:
            outcome = ResearcherOutcome("limit", str(error))
        except Conflict:
            raise
        except AarError as error:
            outcome = ResearcherOutcome("failed", str(error))
        except Exception as error:
            log.exception("researcher failed", researcher=self._view.id)
            outcome = ResearcherOutcome("failed", f"{type(error).__name__}: {error}")
        finally:
            try:
                unwritten = partial(self._workshop.faults.add_fault, self._view.name, then="its state stays as it was")
                await best_effort(self._record_outcome(outcome), unwritten)
            finally:
                await self._put_away()
        return outcome

    async def _put_away(self) -> None:
        """End the sandbox and release its lease.

        The outcome is known and does not depend on it.
        """
        held, self._held = self._held, contextlib.AsyncExitStack()
        await best_effort(held.aclose(), log_failure("could not release a researcher's lease"))

    async def _run_through_scarcity(self) -> ResearcherOutcome:
        """Run the researcher.

        Wait while descriptors, memory or the database give out for a while.
        """
        patience = RestartBackoff()
        while True:
            begun = time.monotonic()
            try:
                await self._workshop.gateways.open_model(self._view.model)
                return await self._with_sandbox()
            except Exception as error:
                if not is_transient(error):
                    raise
                if time.monotonic() - begun >= HEALTHY_SECONDS:
                    patience.reset()
                pause = patience.next_delay(error, foreseen=True)
                if pause is None:  # it continues once an operator makes room, so it has not failed
                    return ResearcherOutcome("limit", str(find_disk_full(error) or error))
                self._workshop.faults.add_fault(self._view.name, error, f"started again in {pause:g} s")
                await self._put_away()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._signal.event.wait()
            if self._signal.event.is_set():
                return ResearcherOutcome("paused", "pause asked for")

    async def _with_sandbox(self) -> ResearcherOutcome:
        """Run the researcher on the cores and GPUs leased to it.

        ``_put_away`` ends the sandbox; the workspace stays. It counts as at work, and its time is booked, once it has
        them.
        """
        workshop, gpus = self._workshop, self._workshop.plan.spec.sandbox.gpus
        if gpus:
            await self._show_activity(f"waits for {gpus} GPU{'s' if gpus > 1 else ''}")
        lease = await self._held.enter_async_context(workshop.leases.lease_for_researcher(self._view.id, gpus=gpus))
        await self._begin()
        spec = self._sandbox_spec(lease)
        keeper = SandboxProvider(
            workshop.plan.backend, spec, workshop.plan.database, self._view.id, workshop.outages, self._signal.event
        )
        self._held.push_async_callback(keeper.close)
        return await self._metered(keeper)

    async def _metered(self, keeper: SandboxProvider) -> ResearcherOutcome:
        """Run the researcher until the ledger refuses to pay for its sandbox."""
        plan = self._workshop.plan
        limits = self._workshop.ledger.limits
        work: asyncio.Future[ResearcherOutcome] = asyncio.ensure_future(self._work(keeper))
        tasks: list[asyncio.Future[Any]] = [work]
        if limits.usd_per_core_hour or limits.core_hours is not None:
            metering = meter_compute(self._workshop.ledger, plan.database, self._view.id, plan.spec.sandbox.cpus)
            tasks.append(asyncio.ensure_future(metering))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {work}:
                task.result()
            return await work
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _work(self, keeper: SandboxProvider) -> ResearcherOutcome:
        for restart in range(_RESTARTS + 1):
            try:
                return await run_researcher(self._context(keeper))
            except AarError:
                raise
            except Exception as error:
                if is_transient(error):
                    raise
                log.exception("researcher's loop died", researcher=self._view.id)
                cause = f"{type(error).__name__}: {error}"
                # No error may repeat for ever, neither here nor after a resume.
                try:
                    await answer_interrupted_calls(self._context(keeper), type(error).__name__)
                except Exception:  # the next loop meets the same error, and is counted
                    log.exception("could not answer the calls under way", researcher=self._view.id)
                if restart < _RESTARTS:
                    await self._write("running", f"loop died ({cause}); restart {restart + 1} of {_RESTARTS}")
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_RESTART_SECONDS * 2**restart):
                            await self._signal.event.wait()
        return ResearcherOutcome("failed", f"the loop died {_RESTARTS + 1} times: {cause}")

    def _context(self, keeper: SandboxProvider) -> ResearcherContext:
        workshop, view, spec = self._workshop, self._view, self._workshop.plan.spec
        asked, able = spec.researchers, workshop.gateways.capabilities(view.model)
        return ResearcherContext(
            campaign_id=workshop.campaign_id,
            researcher_id=view.id,
            name=view.name,
            model=view.model,
            direction=Direction(view.direction_key, view.direction, view.family),
            problem=workshop.plan.problem,
            db=workshop.plan.database,
            ledger=workshop.ledger,
            gateway=workshop.gateways.gateway(view.model),
            sandbox=keeper,
            snapshots=workshop.snapshots,
            scorer=workshop.scorer,
            runs_per_submission=workshop.scorer.runs_per_submission,
            parallel_runs=workshop.scorer.parallel,
            stopping=self._signal.event,
            limits=workshop.ledger.limits,
            # Never request, or reserve in the ledger, more than the model can write.
            max_output_tokens=min(asked.max_output_tokens, able.max_tokens or asked.max_output_tokens),
            capabilities=able,
            options=ModelOptions(asked.thinking, asked.effort, asked.cache, asked.context),
            fallback=workshop.gateways.fallback(view.model),
            context_tokens=asked.context_tokens,
            approaching_limit=partial(workshop.budget.approaching_limit, view.id),
            command_seconds=spec.sandbox.command_seconds,
            job_seconds=spec.sandbox.job_seconds,
            resting=self._note_rest,
        )

    def _note_rest(self, rests: bool) -> None:
        (self._workshop.resting.add if rests else self._workshop.resting.discard)(self._view.id)

    def _sandbox_spec(self, lease: Lease) -> SandboxSpec:
        workshop, options = self._workshop, self._workshop.plan.spec.sandbox
        return SandboxSpec(
            name=self._view.id,
            campaign_id=workshop.campaign_id,
            workspace=workshop.home / "workspaces" / self._view.name,
            mounts=workshop.mounts,
            env=workshop.environment,
            memory_bytes=int(options.memory_gib * _GIB),
            cpus=options.cpus,
            workspace_bytes=int(options.workspace_gib * _GIB),
            image=options.image,
            gpus=lease.gpus,
            cores=lease.cores,
        )

    async def _begin(self) -> None:
        view, db = self._view, self._workshop.plan.database
        if view.state == "created" and not self._begun:
            started = ResearcherStarted(direction=view.direction_key, model=view.model)
            await db.write(lambda session: append_event(session, view.campaign_id, started, view.id))
        self._begun = True
        await self._write("running", "")

    async def _show_activity(self, doing: str) -> None:
        """Show an activity before the researcher is at work."""

        def write(session: Session) -> None:
            session.get_one(Researcher, self._view.id).doing = doing

        await self._workshop.plan.database.write(write)

    async def _record_outcome(self, outcome: ResearcherOutcome) -> None:
        ending, wish = self._workshop.stop.ending, self._signal.desired
        if outcome.reason == "paused" and wish is not None and wish.is_ended:
            await self._write("finished", wish.cause)
        elif outcome.reason == "paused" and ending is not None and ending.state == "finished":
            await self._write("finished", ending.cause)
        elif outcome.reason == "paused" and wish is not None:
            await self._write("paused", wish.cause)
        else:
            await self._write(_STATE_AFTER[outcome.reason], outcome.detail)

    async def _write(self, state: str, cause: str) -> None:
        view = self._view

        def write(session: Session) -> None:
            researcher = session.get_one(Researcher, view.id)
            if cause:
                append_event(session, view.campaign_id, ResearcherStateChanged(state=state, cause=cause), view.id)
            researcher.state, researcher.cause, researcher.doing = state, cause, ""

        database = self._workshop.plan.database
        await retry_write(view.name, lambda: database.write(write), self._workshop.faults, seconds=MAX_FAILING_SECONDS)
