"""Supervises one researcher: its sandbox, its loop, its compute meter, and its recorded outcome.

It reuses an earlier controller's sandbox and replaces a lost one. Core-seconds are reserved before they are used,
minute by minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from sqlalchemy.orm import Session

from aar.budget.ledger import Ledger, WorstCase
from aar.campaign.controller.runtime import CampaignRuntime
from aar.campaign.controller.service_restarts import HEALTHY_SECONDS, MAX_FAILING_SECONDS, RestartBackoff, retry_write
from aar.campaign.directions import Direction
from aar.campaign.steering import DesiredState
from aar.campaign.views import ResearcherView
from aar.concurrency import best_effort, log_failure
from aar.errors import AarError, BackendAway, Conflict, LimitReached, SandboxGone, find_disk_full, is_transient
from aar.events import ResearcherStarted, ResearcherStateChanged, SandboxCreated, SandboxIncident, SandboxLost
from aar.researcher.context import ModelOptions, ResearcherContext, ResearcherOutcome, StopRequested
from aar.researcher.loop import run_researcher
from aar.researcher.tools.executor import answer_interrupted_calls
from aar.sandbox.incidents import BackendOutageMonitor, Incident, report_left_behind
from aar.sandbox.leases import Lease
from aar.sandbox.protocol import Sandbox, SandboxBackend, SandboxSpec
from aar.store.database import Database
from aar.store.event_log import append_event
from aar.store.models import Researcher

log = structlog.get_logger(__name__)

_STATE_AFTER = {"finished": "finished", "paused": "paused", "limit": "paused", "away": "paused", "failed": "failed"}
_RESTARTS = 3
_RESTART_SECONDS = 1.0
_GIB = 1024**3
_SLICE_SECONDS = 60.0


@dataclass(slots=True)
class ResearcherSignal:
    """Requests the end of one researcher.

    ``desired`` is the command, None when the campaign ends.
    """

    event: asyncio.Event = field(default_factory=asyncio.Event)
    desired: DesiredState | None = None


class ResearcherSupervisor:
    """Runs one researcher within a campaign.

    An agent loop that dies of an unexpected error is restarted from its events, a few times and with growing pauses. An
    error that names its cause (a refused key, say) ends it at once.

    Args:
        signal: requests its end.
    """

    def __init__(self, runtime: CampaignRuntime, view: ResearcherView, signal: ResearcherSignal) -> None:
        self._runtime = runtime
        self._view = view
        self._signal = signal
        self._started = False
        self._resources = contextlib.AsyncExitStack()

    async def run(self) -> ResearcherOutcome:
        """Run until the researcher finishes, fails, reaches a limit, or the campaign ends."""
        outcome = ResearcherOutcome("paused", "interrupted")
        try:
            outcome = await self._run_with_retries()
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
                on_failure = partial(self._runtime.faults.add_fault, self._view.name, then="its state stays as it was")
                await best_effort(self._record_outcome(outcome), on_failure)
            finally:
                await self._release_resources()
        return outcome

    async def _release_resources(self) -> None:
        """End the sandbox and release its lease.

        The outcome is known and does not depend on it.
        """
        resources, self._resources = self._resources, contextlib.AsyncExitStack()
        await best_effort(resources.aclose(), log_failure("could not release a researcher's lease"))

    async def _run_with_retries(self) -> ResearcherOutcome:
        """Run the researcher.

        Wait while descriptors, memory or the database give out for a while.
        """
        backoff = RestartBackoff()
        while True:
            started = time.monotonic()
            try:
                await self._runtime.gateways.open_model(self._view.model)
                return await self._with_sandbox()
            except Exception as error:
                if not is_transient(error):
                    raise
                if time.monotonic() - started >= HEALTHY_SECONDS:
                    backoff.reset()
                pause = backoff.next_delay(error, foreseen=True)
                if pause is None:  # it continues once an operator makes room, so it has not failed
                    return ResearcherOutcome("limit", str(find_disk_full(error) or error))
                self._runtime.faults.add_fault(self._view.name, error, f"started again in {pause:g} s")
                await self._release_resources()
            await self._wait(pause)
            if self._signal.event.is_set():
                return ResearcherOutcome("paused", "pause asked for")

    async def _wait(self, seconds: float) -> None:
        """Wait, unless the researcher is to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._signal.event.wait()

    async def _with_sandbox(self) -> ResearcherOutcome:
        """Run the researcher on the cores and GPUs leased to it.

        ``_release_resources`` ends the sandbox; the workspace stays. It counts as at work, and its time is booked, once
        it has them.
        """
        runtime, gpus = self._runtime, self._runtime.plan.spec.sandbox.gpus
        if gpus:
            await self._show_activity(f"waits for {gpus} GPU{'s' if gpus > 1 else ''}")
        lease = await self._resources.enter_async_context(runtime.leases.lease_for_researcher(self._view.id, gpus=gpus))
        await self._begin()
        spec = self._sandbox_spec(lease)
        provider = SandboxProvider(
            runtime.plan.backend, spec, runtime.plan.database, self._view.id, runtime.outages, self._signal.event
        )
        self._resources.push_async_callback(provider.close)
        return await self._metered(provider)

    async def _metered(self, provider: SandboxProvider) -> ResearcherOutcome:
        """Run the researcher until the ledger refuses to pay for its sandbox."""
        plan = self._runtime.plan
        limits = self._runtime.ledger.limits
        work: asyncio.Future[ResearcherOutcome] = asyncio.ensure_future(self._work(provider))
        tasks: list[asyncio.Future[Any]] = [work]
        if limits.usd_per_core_hour or limits.core_hours is not None:
            metering = meter_compute(self._runtime.ledger, self._view.id, plan.spec.sandbox.cpus)
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

    async def _work(self, provider: SandboxProvider) -> ResearcherOutcome:
        for restart in range(_RESTARTS + 1):
            try:
                return await run_researcher(self._context(provider))
            except AarError:
                raise
            except Exception as error:
                if is_transient(error):
                    raise
                log.exception("researcher's loop died", researcher=self._view.id)
                cause = f"{type(error).__name__}: {error}"
                # No error may repeat for ever, neither here nor after a resume.
                try:
                    await answer_interrupted_calls(self._context(provider), type(error).__name__)
                except Exception:  # the next loop meets the same error, and is counted
                    log.exception("could not answer the calls under way", researcher=self._view.id)
                if restart < _RESTARTS:
                    await self._write("running", f"loop died ({cause}); restart {restart + 1} of {_RESTARTS}")
                    await self._wait(_RESTART_SECONDS * 2**restart)
        return ResearcherOutcome("failed", f"the loop died {_RESTARTS + 1} times: {cause}")

    def _context(self, provider: SandboxProvider) -> ResearcherContext:
        runtime, view, spec = self._runtime, self._view, self._runtime.plan.spec
        options, capabilities = spec.researchers, runtime.gateways.capabilities(view.model)
        return ResearcherContext(
            campaign_id=runtime.campaign_id,
            researcher_id=view.id,
            name=view.name,
            model=view.model,
            direction=Direction(view.direction_key, view.direction, view.family),
            problem=runtime.plan.problem,
            db=runtime.plan.database,
            ledger=runtime.ledger,
            gateway=runtime.gateways.gateway(view.model),
            sandbox=provider,
            snapshots=runtime.snapshots,
            scorer=runtime.scorer,
            runs_per_submission=runtime.scorer.runs_per_submission,
            parallel_runs=runtime.scorer.parallel,
            stopping=self._signal.event,
            # Never request, or reserve in the ledger, more than the model can write.
            max_output_tokens=min(options.max_output_tokens, capabilities.max_tokens or options.max_output_tokens),
            capabilities=capabilities,
            options=ModelOptions(options.thinking, options.effort, options.cache, options.context),
            fallback=runtime.gateways.fallback(view.model),
            context_tokens=options.context_tokens,
            approaching_limit=partial(runtime.limit_monitor.approaching_limit, view.id),
            command_seconds=spec.sandbox.command_seconds,
            job_seconds=spec.sandbox.job_seconds,
            resting=runtime.resting,
        )

    def _sandbox_spec(self, lease: Lease) -> SandboxSpec:
        runtime, options = self._runtime, self._runtime.plan.spec.sandbox
        return SandboxSpec(
            name=self._view.id,
            campaign_id=runtime.campaign_id,
            workspace=runtime.home / "workspaces" / self._view.name,
            mounts=runtime.mounts,
            env=runtime.environment,
            memory_bytes=int(options.memory_gib * _GIB),
            cpus=options.cpus,
            workspace_bytes=int(options.workspace_gib * _GIB),
            image=options.image,
            gpus=lease.gpus,
            cores=lease.cores,
        )

    async def _begin(self) -> None:
        view, db = self._view, self._runtime.plan.database
        if view.state == "created" and not self._started:
            event = ResearcherStarted(direction=view.direction_key, model=view.model)
            await db.write(lambda session: append_event(session, view.campaign_id, event, view.id))
        self._started = True
        await self._write("running", "")

    async def _show_activity(self, doing: str) -> None:
        """Show an activity before the researcher is at work."""

        def write(session: Session) -> None:
            session.get_one(Researcher, self._view.id).doing = doing

        await self._runtime.plan.database.write(write)

    async def _record_outcome(self, outcome: ResearcherOutcome) -> None:
        ending, desired = self._runtime.stop.ending, self._signal.desired
        if outcome.reason == "paused" and desired is not None and desired.is_ended:
            await self._write("finished", desired.cause)
        elif outcome.reason == "paused" and ending is not None and ending.state == "finished":
            await self._write("finished", ending.cause)
        elif outcome.reason == "paused" and desired is not None:
            await self._write("paused", desired.cause)
        else:
            await self._write(_STATE_AFTER[outcome.reason], outcome.detail)

    async def _write(self, state: str, cause: str) -> None:
        async def write() -> None:
            await self._runtime.plan.database.write(
                lambda session: set_researcher_state(session, self._view.id, state, cause)
            )

        await retry_write(self._view.name, write, self._runtime.faults, seconds=MAX_FAILING_SECONDS)


def set_researcher_state(session: Session, researcher_id: str, state: str, cause: str) -> None:
    """Change a researcher's state, and log it if there is a cause."""
    researcher = session.get_one(Researcher, researcher_id)
    if cause:
        append_event(session, researcher.campaign_id, ResearcherStateChanged(state=state, cause=cause), researcher_id)
    researcher.state, researcher.cause, researcher.doing = state, cause, ""


class SandboxProvider:
    """The sandbox of one researcher.

    Args:
        backend: makes sandboxes.
        spec: of the sandbox; its workspace outlives every sandbox.
        database: for the events.
        researcher_id: the researcher of the sandbox.
        outages: waits while the backend is out of reach.
        stopping: ends that wait.
    """

    def __init__(
        self,
        backend: SandboxBackend,
        spec: SandboxSpec,
        database: Database,
        researcher_id: str,
        outages: BackendOutageMonitor,
        stopping: asyncio.Event,
    ) -> None:
        self._backend = backend
        self._spec = spec
        self._database = database
        self._researcher_id = researcher_id
        self._outages = outages
        self._stopping = stopping
        self._sandbox: Sandbox | None = None
        self._lock = asyncio.Lock()

    async def current(self) -> Sandbox:
        """Return the sandbox in use.

        Make or recover one on the first call and after ``lost``.

        It waits while the backend is out of reach.

        Raises:
            SandboxUnavailable, SandboxError: none could be made.
            Stopping: a pause was requested while the backend was out of reach.
        """
        async with self._lock:
            if self._sandbox is None:
                try:
                    await self._outages.run_when_up(self._opened, self._stopping)
                except BackendAway:
                    if self._stopping.is_set():
                        raise StopRequested from None
                    raise
            assert self._sandbox is not None
            return self._sandbox

    async def lost(self, cause: str) -> None:
        """Mark the sandbox as lost.

        The next call of ``current`` makes a new one on the same workspace.
        """
        async with self._lock:
            if self._sandbox is None:
                return
            sandbox, self._sandbox = self._sandbox, None
            await self._end(sandbox)
            await self._log(SandboxLost(name=self._spec.name, cause=cause))

    async def close(self) -> None:
        """End the sandbox.

        The workspace stays. A failed removal is an incident, never an error.
        """
        async with self._lock:
            if self._sandbox is not None:
                sandbox, self._sandbox = self._sandbox, None
                await self._end(sandbox)

    async def _end(self, sandbox: Sandbox) -> None:
        left: list[Incident] = []
        await best_effort(
            sandbox.destroy(), partial(report_left_behind, left.append, self._spec.name, self._spec.campaign_id)
        )
        for each in left:
            incident = SandboxIncident(name=each.sandbox, incident=str(each.kind), detail=each.detail)
            # Database errors are handled where an outcome is written.
            await best_effort(self._log(incident), log_failure("could not log an incident"))

    async def _opened(self) -> None:
        opening = asyncio.ensure_future(self._open())
        try:
            self._sandbox = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # A half-made sandbox could not be found again; `close` ends a complete one.
            with contextlib.suppress(Exception):
                self._sandbox = await opening
            raise

    async def _open(self) -> Sandbox:
        started = time.monotonic()
        try:
            sandbox = await self._backend.attach(self._spec)
        except SandboxGone:
            await self._backend.remove(self._spec.name)
            try:
                sandbox = await self._backend.create(self._spec)
            except Conflict:
                await self._backend.remove(self._spec.name)
                sandbox = await self._backend.create(self._spec)
        milliseconds = round((time.monotonic() - started) * 1000)
        await self._log(SandboxCreated(name=self._spec.name, backend=self._backend.name, milliseconds=milliseconds))
        return sandbox

    async def _log(self, event: SandboxCreated | SandboxLost | SandboxIncident) -> None:
        def write(session: Session) -> None:
            append_event(session, self._spec.campaign_id, event, self._researcher_id)

        await self._database.write(write)


async def meter_compute(ledger: Ledger, researcher_id: str, cpus: float) -> None:
    """Reserve and settle core-seconds, one slice after another, until cancelled.

    Args:
        cpus: cores that the sandbox may use; they are charged whether they are busy or not.

    Raises:
        LimitReached: the next slice does not fit a limit.
    """
    worst = WorstCase("compute", core_seconds=_SLICE_SECONDS * cpus)
    while True:
        request_id = f"compute-{uuid.uuid4().hex}"
        async with ledger.metered(worst, request_id=request_id, researcher_id=researcher_id) as bill:
            started = time.monotonic()
            try:
                await asyncio.sleep(_SLICE_SECONDS)
            finally:
                bill.use(min(time.monotonic() - started, _SLICE_SECONDS) * cpus)
