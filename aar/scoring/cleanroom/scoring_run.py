"""Executes one scoring run: reserve, prepare the split, run the method, score, record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from uuid import uuid4

import anyio
import anyio.to_thread
import structlog
from anyio import CancelScope, CapacityLimiter
from sqlalchemy.orm import Session

from aar.budget.ledger import Bill, Ledger, WorstCase
from aar.errors import (
    REMEDY,
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
from aar.scoring.cleanroom.clean_room import DEFAULT_OWNER, CleanRoom, RunMeter, RunOutcome, ScoringRunResult, Stopwatch
from aar.scoring.cleanroom.run_sandbox import make_readable, prepared_bundles
from aar.scoring.results import score_writer
from aar.scoring.results.verdict_messages import (
    PREPARATION_FAILED_MESSAGE,
    RunFailure,
    output_rejected_message,
    output_ungraded_message,
    output_unreadable_message,
    sandbox_lost_message,
)
from aar.scoring.submission_queue import CHECKS_PAYER, RunSpec, ScoringJob
from aar.store.database import Database

_RATE_PAUSE_SECONDS = 5.0
_PREPARATIONS = 2
_PROBES = 3
"""Other splits that are tried before the problem counts as broken."""
_PROBE_PAUSE_SECONDS = 1.0


class RunExecutor:
    """Executes the scoring runs of one campaign.

    Args:
        parallel: methods running at once; as many calls prepare and score.
    """

    def __init__(
        self, db: Database, campaign_id: str, problem: Problem, clean_room: CleanRoom, ledger: Ledger, parallel: int
    ) -> None:
        self._db = db
        self._campaign_id = campaign_id
        self._problem = problem
        self._clean_room = clean_room
        self._ledger = ledger
        self._slots = CapacityLimiter(parallel)
        self._threads = CapacityLimiter(parallel)

    async def execute(self, work: ScoringJob, ticket: RunSpec) -> ScoringRunResult:
        """Execute a run and record its result.

        A run that is cancelled before that has no result, and is charged for the time that its method ran.

        Raises:
            LimitReached: the run's worst case does not fit; nothing was run.
            SandboxUnavailable, SandboxError, DataMissing: as in ``run_with_retries``.
            ProblemError: the problem can prepare no split any more.
        """
        reserve = partial(self._metered, work, ticket)
        async with RunMeter(reserve, self._problem.run_limits.cpus) as meter:
            trial = await self._try(work, ticket, meter)
            with CancelScope(shield=True):
                await self._db.write(lambda session: self._record(session, ticket, trial, meter))
        return trial

    def _metered(self, work: ScoringJob, ticket: RunSpec) -> AbstractAsyncContextManager[Bill]:
        """Reserve an attempt's worst case, waiting for runs in progress."""
        limits, payer = self._problem.run_limits, work.payer

        async def wait(refusal: LimitReached) -> None:
            scope = refusal.breach.scope
            if refusal.breach.limit == "usd_per_agent_hour" and payer != CHECKS_PAYER:
                await anyio.sleep(_RATE_PAUSE_SECONDS)  # a rate falls as hours are worked; at the end none are
            elif self._ledger.under_way("scoring", scope if scope == payer else None):
                await self._ledger.wait_for_end()  # runs in progress reserve their worst case, and will cost less
            else:
                raise refusal

        return self._ledger.metered(
            WorstCase("scoring", core_seconds=limits.seconds * limits.cpus),
            request_id=f"{self._campaign_id}-s{work.number}-{ticket.run_id}-{uuid4().hex[:12]}",
            researcher_id=None if payer == CHECKS_PAYER else payer,
            wait=wait,
        )

    async def _try(self, work: ScoringJob, ticket: RunSpec, meter: RunMeter) -> ScoringRunResult:
        """Prepare and run; after two failures of the problem's code, skip this run.

        Raises:
            ProblemError: it fails at every other split too, so no submission can be scored; this one is not changed.
        """
        fault = ""
        for _ in range(_PREPARATIONS):
            try:
                return await self._prepare_and_run(work, ticket, meter)
            except PluginFailed as error:
                fault = error.message
                log.warning("the problem could not prepare a run", submission=f"s{work.number}", cause=fault)
        if work.check_id is None:  # a check that cannot be made costs no submission anything
            await self._require_some_split(ticket, fault)
        return ScoringRunResult(None, RunFailure.PROBLEM_FAILED, PREPARATION_FAILED_MESSAGE, None, 0.0, fault)

    async def _require_some_split(self, ticket: RunSpec, fault: str) -> None:
        """Check that the problem can prepare some other split.

        If it can, only the split at which it failed is at fault.

        Raises:
            ProblemError: it cannot prepare any split.
        """
        for probe in range(1, _PROBES + 1):
            await anyio.sleep(_PROBE_PAUSE_SECONDS)
            try:
                async with prepared_bundles(
                    self._problem,
                    self._clean_room.work_dir,
                    domain=ticket.domain,
                    stage=ticket.phase.stage,
                    split_seed=ticket.split_seed ^ probe,
                    limiter=self._threads,
                ):
                    return
            except PluginFailed as error:
                fault = error.message
        raise ProblemError(
            f"the problem can prepare no split of {ticket.domain}: {_PROBES + 1} in a row failed, last: {fault}",
            "Fix the problem (see `aar problem validate`), then `aar resume`; waiting submissions are scored then",
        )

    async def _prepare_and_run(self, work: ScoringJob, ticket: RunSpec, meter: RunMeter) -> ScoringRunResult:
        async with prepared_bundles(
            self._problem,
            self._clean_room.work_dir,
            domain=ticket.domain,
            stage=ticket.phase.stage,
            split_seed=ticket.split_seed,
            limiter=self._threads,
        ) as task:
            corruption = ticket.phase.corruption
            if corruption is not None:
                # Not the method's own seed, with which it could undo the corruption.
                await call_plugin(self._problem, "corrupt", task, corruption, ticket.split_seed, limiter=self._threads)
                await anyio.to_thread.run_sync(make_readable, task.public)
            await self._db.write(lambda session: score_writer.start_run(session, ticket.run_id))
            return await run_with_retries(
                self._problem,
                self._clean_room,
                task,
                work.digest,
                ticket.seed,
                owner=self._campaign_id,
                slot=self._slots,
                limiter=self._threads,
                watch=meter,
                again=meter.begin_attempt,
            )

    def _record(self, session: Session, ticket: RunSpec, trial: ScoringRunResult, meter: RunMeter) -> None:
        meter.settle_in(session)
        score_writer.finish_run(session, self._campaign_id, ticket.run_id, trial)


log = structlog.get_logger(__name__)

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
_DISK_PATIENCE_SECONDS = 600.0


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
    score, fault = None, ""
    try:
        found: TaskScore = await call_plugin(problem, "score", task, outcome.output, limiter=limiter)
        bad = next((name for name, part in found.parts.items() if not is_finite(part)), None)
        if bad is None:
            score, told = found, None
        else:
            # The output or the plug-in may be at fault; in both cases only this output has no score.
            told, fault = (
                output_rejected_message(f"its {bad} is not a finite number", hosts),
                f"{bad} is no finite number",
            )
    except OutputRejected as rejection:
        told = output_rejected_message(str(rejection), hosts)
    except PluginFailed as error:
        # The plug-in read a file that an adversary wrote, so any error is about that file. The error's text
        # is neither shown nor logged, because it may quote the labels.
        told, fault = (
            output_unreadable_message() if error.cause == "raised" else output_ungraded_message(),
            error.message,
        )
    finally:
        outcome.discard()
    failure, verdict = told or (None, "")
    return ScoringRunResult(score, failure, verdict, outcome.output_digest, outcome.seconds, fault)


async def _wait_for_room(folder: Path) -> None:
    """Wait until a disk has room again. Raises DiskFull after ten minutes."""
    with anyio.move_on_after(_DISK_PATIENCE_SECONDS):
        while is_disk_full(folder):  # noqa: ASYNC110 - nothing announces room
            await anyio.sleep(_PAUSE_SECONDS)
        return
    raise DiskFull(f"the disk is full: cannot write {folder}", REMEDY)


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
    failure, verdict = sandbox_lost_message(_ATTEMPTS)
    return RunOutcome(False, failure, verdict, None, None, watch.total)
