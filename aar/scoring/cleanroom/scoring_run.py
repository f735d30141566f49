"""Executes one scoring run with its money: reserve, prepare the split, run the method, score, record.

The result is recorded together with its cost. A run is retried when its sandbox is lost; the core-seconds of each
attempt are booked from the method's start to its end, however the run ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
import structlog
from anyio import CancelScope, CapacityLimiter
from sqlalchemy.orm import Session

from aar.budget.ledger import Bill, Ledger, WorstCase
from aar.errors import (
    DISK_FULL_REMEDY,
    DiskFull,
    LimitReached,
    PluginFailed,
    ProblemError,
    SandboxError,
    SandboxUnavailable,
    is_disk_full,
)
from aar.problems.plugin_calls import call_plugin
from aar.problems.protocol import OutputRejected, Problem, Task, TaskScore
from aar.problems.statistics import is_finite
from aar.scoring.cleanroom.clean_room import DEFAULT_OWNER, CleanRoom, RunOutcome, ScoringRunResult, Stopwatch
from aar.scoring.cleanroom.run_sandbox import make_readable, prepared_bundles
from aar.scoring.results import score_writer
from aar.scoring.results.verdict_messages import (
    OUTPUT_UNGRADED,
    OUTPUT_UNREADABLE,
    PREPARATION_FAILED_MESSAGE,
    RunFailure,
    output_rejected_message,
    sandbox_lost_message,
)
from aar.scoring.submission_queue import CHECKS_PAYER, RunSpec, ScoringJob
from aar.store.database import Database

log = structlog.get_logger(__name__)

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
_DISK_PATIENCE_SECONDS = 600.0
_RATE_PAUSE_SECONDS = 5.0
_PREPARATIONS = 2
_PROBES = 3
"""Other splits that are tried before the problem counts as broken."""
_PROBE_PAUSE_SECONDS = 1.0


async def run_with_retries(
    problem: Problem,
    clean_room: CleanRoom,
    task: Task,
    source: str | Path,
    seed: int,
    *,
    owner: str = DEFAULT_OWNER,
    slot: AbstractAsyncContextManager[object] | None = None,
    limiter: CapacityLimiter | None = None,
    watch: Stopwatch | None = None,
    again: Callable[[], Awaitable[None]] | None = None,
) -> ScoringRunResult:
    """Run a method on a prepared task and score its output, with retries.

    Args:
        slot: held while the method runs, to bound how many run at once.
        limiter: bounds the calls that score.
        watch: times the method itself.
        again: awaited before another attempt, after a sandbox was lost.

    Raises:
        SandboxUnavailable, SandboxError: sandboxes do not work here, with or without this method.
        DiskFull: the disk stayed full for ten minutes.
        DataMissing: from the problem.
    """
    attempt = partial(clean_room.run, task, source, seed, owner=owner, slot=slot)
    outcome = await _execute(clean_room, owner, attempt, watch or Stopwatch(), again)
    if outcome.output is None:
        return ScoringRunResult(None, outcome.failure, outcome.verdict, None, outcome.seconds)
    hosts = (clean_room.work_dir, task.public.parent)
    fault = ""
    try:
        score: TaskScore = await call_plugin(problem, "score", task, outcome.output, limiter=limiter)
        bad = next((name for name, part in score.parts.items() if not is_finite(part)), None)
        if bad is None:
            return ScoringRunResult(score, None, "", outcome.output_digest, outcome.seconds)
        # The output or the plug-in may be at fault; in both cases only this output has no score.
        failure = output_rejected_message(f"its {bad} is not a finite number", hosts)
        fault = f"{bad} is no finite number"
    except OutputRejected as rejection:
        failure = output_rejected_message(str(rejection), hosts)
    except PluginFailed as error:
        # The plug-in read a file that an adversary wrote, so any error is about that file. The error's text
        # is neither shown nor logged, because it may quote the labels.
        failure, fault = OUTPUT_UNREADABLE if error.cause == "raised" else OUTPUT_UNGRADED, error.message
    finally:
        outcome.discard()
    return ScoringRunResult(None, *failure, outcome.output_digest, outcome.seconds, fault)


async def _execute(
    clean_room: CleanRoom,
    owner: str,
    run: Callable[..., Awaitable[RunOutcome]],
    watch: Stopwatch,
    again: Callable[[], Awaitable[None]] | None,
) -> RunOutcome:
    for attempt in range(_ATTEMPTS):
        if attempt and again is not None:
            await again()
        try:
            # A backend that is away has nothing to do with the method, and costs it no attempt.
            outcome = await clean_room.outages.run_when_up(partial(run, watch=watch))
        except (SandboxError, SandboxUnavailable) as error:
            log.warning("a scoring sandbox was lost; trying again", attempt=attempt + 1, error=str(error))
            await anyio.sleep(_PAUSE_SECONDS * 2**attempt)
            continue
        # What the method itself wrote is gone by now, so a disk that is still full is not its fault.
        blameless = outcome.failure is not None and is_disk_full(clean_room.work_dir)
        if not blameless or attempt == _ATTEMPTS - 1:
            return outcome
        log.warning("a scoring run failed on a full disk; trying again", attempt=attempt + 1)
        await _wait_for_room(clean_room.work_dir)
    # A sandbox without the method shows if the machine or the method is at fault.
    await clean_room.outages.run_when_up(partial(clean_room.probe, owner=owner))
    return RunOutcome(*sandbox_lost_message(_ATTEMPTS), None, None, watch.total)


async def _wait_for_room(folder: Path) -> None:
    """Wait until a disk has room again. Raises DiskFull after ten minutes."""
    with anyio.move_on_after(_DISK_PATIENCE_SECONDS):
        while is_disk_full(folder):  # noqa: ASYNC110 - nothing announces room
            await anyio.sleep(_PAUSE_SECONDS)
        return
    raise DiskFull(f"the disk is full: cannot write {folder}", DISK_FULL_REMEDY)


class RunMeter(Stopwatch):
    """Meters each attempt of a run with a bill of its own, from the method's start to its end.

    Args:
        reserve: opens the bill of an attempt.
        cpus: cores that are charged whether they are busy or not.
    """

    def __init__(self, reserve: Callable[[], AbstractAsyncContextManager[Bill]], cpus: float) -> None:
        super().__init__()
        self._reserve = reserve
        self._cpus = cpus
        self._bills = AsyncExitStack()
        self._bill: Bill | None = None

    async def __aenter__(self) -> RunMeter:
        await self.begin_attempt()
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._use()
        await self._bills.__aexit__(*error)

    async def begin_attempt(self) -> None:
        """Book the attempt before, and reserve the next. Raises LimitReached."""
        self._use()
        await self._bills.aclose()
        self._bill = None
        self._before, self.seconds, self.begun = self.total, 0.0, False
        self._bill = await self._bills.enter_async_context(self._reserve())

    def settle_in(self, session: Session) -> None:
        """Settle the latest attempt, in the caller's transaction."""
        assert self._bill is not None
        self._bill.use(self.seconds * self._cpus)
        self._bill.settle_in(session)

    def _use(self) -> None:
        if self.begun and self._bill is not None:
            self._bill.use(self.seconds * self._cpus)


@dataclass(eq=False)
class RunExecutor:
    """Executes the scoring runs of one campaign.

    Args:
        parallel: methods running at once; as many calls prepare and score.
    """

    db: Database
    campaign_id: str
    problem: Problem
    clean_room: CleanRoom
    ledger: Ledger
    parallel: int

    def __post_init__(self) -> None:
        """Bound the parallel work."""
        self._slots = CapacityLimiter(self.parallel)
        self._threads = CapacityLimiter(self.parallel)

    async def execute(self, job: ScoringJob, spec: RunSpec) -> ScoringRunResult:
        """Execute a run and record its result.

        A run that is cancelled before that has no result, and is charged for the time that its method ran.

        Raises:
            LimitReached: the run's worst case does not fit; nothing was run.
            SandboxUnavailable, SandboxError, DataMissing: as in ``run_with_retries``.
            ProblemError: the problem can prepare no split any more.
        """
        reserve = partial(self._metered, job, spec)
        async with RunMeter(reserve, self.problem.run_limits.cpus) as meter:
            result = await self._try(job, spec, meter)
            with CancelScope(shield=True):
                await self.db.write(lambda session: self._record(session, spec, result, meter))
        return result

    def _metered(self, job: ScoringJob, spec: RunSpec) -> AbstractAsyncContextManager[Bill]:
        """Reserve an attempt's worst case, waiting for runs in progress."""
        limits, payer = self.problem.run_limits, job.payer

        async def wait(refusal: LimitReached) -> None:
            scope = refusal.breach.scope
            if refusal.breach.limit == "usd_per_agent_hour" and payer != CHECKS_PAYER:
                await anyio.sleep(_RATE_PAUSE_SECONDS)  # a rate falls as hours are worked; at the end none are
            elif self.ledger.under_way("scoring", scope if scope == payer else None):
                await self.ledger.wait_for_end()  # runs in progress reserve their worst case, and will cost less
            else:
                raise refusal

        return self.ledger.metered(
            WorstCase("scoring", core_seconds=limits.seconds * limits.cpus),
            request_id=f"{self.campaign_id}-s{job.number}-{spec.run_id}-{uuid4().hex[:12]}",
            researcher_id=None if payer == CHECKS_PAYER else payer,
            wait=wait,
        )

    async def _try(self, job: ScoringJob, spec: RunSpec, meter: RunMeter) -> ScoringRunResult:
        """Prepare and run; after two failures of the problem's code, skip this run.

        Raises:
            ProblemError: it fails at every other split too, so no submission can be scored; this one is not changed.
        """
        fault = ""
        for _ in range(_PREPARATIONS):
            try:
                return await self._prepare_and_run(job, spec, meter)
            except PluginFailed as error:
                fault = error.message
                log.warning("the problem could not prepare a run", submission=f"s{job.number}", cause=fault)
        if job.check_id is None:  # a check that cannot be made costs no submission anything
            await self._require_some_split(spec, fault)
        return ScoringRunResult(None, RunFailure.PROBLEM_FAILED, PREPARATION_FAILED_MESSAGE, None, 0.0, fault)

    async def _require_some_split(self, spec: RunSpec, fault: str) -> None:
        """Check that the problem can prepare some other split.

        If it can, only the split at which it failed is at fault.

        Raises:
            ProblemError: it cannot prepare any split.
        """
        for probe in range(1, _PROBES + 1):
            await anyio.sleep(_PROBE_PAUSE_SECONDS)
            try:
                async with self._bundles(spec, spec.split_seed ^ probe):
                    return
            except PluginFailed as error:
                fault = error.message
        raise ProblemError(
            f"the problem can prepare no split of {spec.domain}: {_PROBES + 1} in a row failed, last: {fault}",
            "Fix the problem (see `aar problem validate`), then `aar resume`; waiting submissions are scored then",
        )

    async def _prepare_and_run(self, job: ScoringJob, spec: RunSpec, meter: RunMeter) -> ScoringRunResult:
        async with self._bundles(spec, spec.split_seed) as task:
            corruption = spec.phase.corruption
            if corruption is not None:
                # Not the method's own seed, with which it could undo the corruption.
                await call_plugin(self.problem, "corrupt", task, corruption, spec.split_seed, limiter=self._threads)
                await anyio.to_thread.run_sync(make_readable, task.public)
            await self.db.write(lambda session: score_writer.start_run(session, spec.run_id))
            return await run_with_retries(
                self.problem,
                self.clean_room,
                task,
                job.digest,
                spec.seed,
                owner=self.campaign_id,
                slot=self._slots,
                limiter=self._threads,
                watch=meter,
                again=meter.begin_attempt,
            )

    def _bundles(self, spec: RunSpec, split_seed: int) -> AbstractAsyncContextManager[Task]:
        folder, stage = self.clean_room.work_dir, spec.phase.stage
        return prepared_bundles(
            self.problem, folder, domain=spec.domain, stage=stage, split_seed=split_seed, limiter=self._threads
        )

    def _record(self, session: Session, spec: RunSpec, result: ScoringRunResult, meter: RunMeter) -> None:
        meter.settle_in(session)
        score_writer.finish_run(session, self.campaign_id, spec.run_id, result)
