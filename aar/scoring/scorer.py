"""The scorer: takes submissions from the queue, runs them, writes scores.

It may be killed at any moment. A run's result and its ledger entry are one transaction; a run without a result is
made again with the same seeds; a result that exists is never replaced.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from functools import partial

import anyio
from anyio import CancelScope

from aar.budget.ledger import Ledger
from aar.concurrency import unwrap_exception_group
from aar.errors import AarError, LimitReached
from aar.problems.plugin_calls import call_plugin
from aar.problems.protocol import Problem
from aar.scoring import confirmation_queue, submission_queue
from aar.scoring.audits.audit_runner import AuditRunner
from aar.scoring.audits.protocol import Audit
from aar.scoring.cleanroom.clean_room import CleanRoom, ScoringRunResult
from aar.scoring.cleanroom.scoring_run import RunExecutor
from aar.scoring.confirmation_queue import CheckPlan
from aar.scoring.finalizer import Finalizer
from aar.scoring.phases import DECISIVE
from aar.scoring.submission_queue import CHECKS_PAYER, RunScheduler, RunSpec, ScoringJob
from aar.scoring.submissions import SubmissionView
from aar.store.database import Database

_POLL_SECONDS = 5.0


@dataclass(eq=False, repr=False)
class Scorer:
    """Scores one campaign's submissions; one scorer per campaign at a time.

    Args:
        db: holds the queue and the scores.
        clean_room: this scorer alone uses its job folder.
        ledger: reserves each run's core-seconds; the campaign, not a researcher, pays for checks.
        seeds: fresh seeds per submission, each run on every domain climbed on.
        parallel: methods running at the same time.
        secret: the campaign's secret, from which seeds and splits are drawn.
        audits: those that read code run before the code does, the others at confirmations.
        plan: how checks are made; None confirms with as many seeds as a submission gets, and only on request.
    """

    db: Database
    campaign_id: str
    problem: Problem
    clean_room: CleanRoom
    ledger: Ledger
    _: KW_ONLY
    seeds: int
    parallel: int
    secret: str
    audits: Sequence[Audit] = ()
    plan: CheckPlan | None = None

    def __post_init__(self) -> None:
        """Make the parts that do the work."""
        self._plan = self.plan or CheckPlan(confirm_seeds=self.seeds)
        self._executor = RunExecutor(
            self.db, self.campaign_id, self.problem, self.clean_room, self.ledger, self.parallel
        )
        self._auditor = AuditRunner(self.db, self.problem, self.clean_room, self.audits)
        self._finalizer = Finalizer(self.db, self.campaign_id, self.problem, self._auditor, self._plan)
        self._scheduler = RunScheduler(self._claim, self._claim_check, [])
        self._changed = anyio.Condition()

    @property
    def runs_per_submission(self) -> int:
        """Return the number of scoring runs of one submission."""
        return self.seeds * len(self.problem.climbed_domains)

    async def serve(self) -> None:
        """Score submissions until cancelled.

        Raises:
            LimitReached: a limit of the whole campaign leaves no room for another run of a submission.
            SandboxUnavailable, SandboxError: sandboxes no longer work here.
            DataMissing: the problem's data is gone.
            ProblemError: the problem's own code can prepare no split any more; waiting submissions stay in the queue.
            Conflict: the campaign was begun under another version of the problem.
        """
        await self.db.read(
            lambda session: submission_queue.check_problem_version(session, self.campaign_id, self.problem)
        )
        await self.clean_room.remove_leftovers(self.campaign_id)
        jobs = await self.db.write(lambda session: submission_queue.recover_submissions(session, self.campaign_id))
        for job in jobs:
            self._require_audit(job)
        jobs += await self.db.write(lambda session: confirmation_queue.recover_checks(session, self.campaign_id))
        self._scheduler = RunScheduler(self._claim, self._claim_check, jobs)
        for job in [job for job in jobs if job.is_done and not job.audit]:
            await self._close(job)
        with unwrap_exception_group():
            warm = self.clean_room.warm_sandboxes(self.campaign_id, self.parallel)
            async with warm, anyio.create_task_group() as lanes:
                lanes.start_soon(self._auditor.warm_up)
                lanes.start_soon(self._load_problem)
                # One lane more than runs at a time: it prepares the next split meanwhile.
                for _ in range(self.parallel + 1):
                    lanes.start_soon(self._lane)

    async def _load_problem(self) -> None:
        """Start the process that runs the problem's code.

        An error in it shows in the first run.
        """
        with suppress(AarError, OSError):
            await call_plugin(self.problem, "brief")

    def notify(self) -> None:
        """Wake the scorer after a submission was committed, instead of at the next poll."""
        self._scheduler.wake()

    async def wait_for(self, submission_number: int, timeout: float) -> SubmissionView:
        """Wait for a submission's verdict; after ``timeout`` seconds return it as it is.

        Raises:
            NotFound: no such submission.
            LimitReached: its researcher is at a limit, so it will not be scored until that is raised.
        """
        self.notify()
        view = await self._finalizer.view(submission_number)
        with anyio.move_on_after(timeout):
            async with self._changed:
                while not view.finished:
                    if view.researcher_id in self._scheduler.blocked:
                        raise self._scheduler.blocked[view.researcher_id]
                    # Read under the lock: a verdict that arrives now cannot slip between the check and the wait.
                    view = await self._finalizer.view(submission_number)
                    if not view.finished:
                        await self._change()
        return await self._finalizer.view(submission_number)

    async def drain(self) -> None:
        """Wait until every submission has its verdict, except those of researchers at a limit."""
        self.notify()
        async with self._changed:
            while await self.db.read(
                lambda session: submission_queue.count_unfinished(
                    session, self.campaign_id, tuple(self._scheduler.blocked)
                )
            ):
                await self._change()

    async def finish(self, top: int, transfer_top: int) -> str:
        """Confirm the campaign's best at its end and run them on transfer domains.

        Args:
            top: number of board rows to confirm; if one is refuted the next moves up, for ``top`` more rounds.
            transfer_top: number of confirmed rows to run on the transfer domains.

        Returns:
            A text that names what was left undone, and why, for people; empty when all was done.
        """
        if await self._confirm_best(top):
            await self.db.write(
                lambda session: confirmation_queue.request_transfer_runs(
                    session, self.campaign_id, self.problem, transfer_top
                )
            )
            await self._drain_checks()
        limit = self._scheduler.blocked.get(CHECKS_PAYER)
        if limit is None:
            return ""
        open_ones = await self.db.read(lambda session: confirmation_queue.count_open_checks(session, self.campaign_id))
        return f"{open_ones} of the confirmations and transfer runs are left in the queue: {limit}"

    async def _confirm_best(self, top: int) -> bool:
        """Confirm the first ``top`` rows, round by round, as refuted rows make others move up.

        Returns:
            False if the checks that are left exceed a limit.
        """
        requested = frozenset[int]()
        for _ in range(top + 1):
            more = await self.db.write(
                partial(
                    confirmation_queue.request_top_confirmations,
                    campaign_id=self.campaign_id,
                    problem=self.problem,
                    top=top,
                    skip=requested,
                )
            )
            if not more:
                break
            if not await self._drain_checks():
                return False
            requested |= set(more)  # a submission over which the problem failed is not tried again and again
        return True

    async def _drain_checks(self) -> bool:
        """Wait until no check is open; False if the rest exceeds a limit."""
        self.notify()
        async with self._changed:
            while await self.db.read(lambda session: confirmation_queue.count_open_checks(session, self.campaign_id)):
                if CHECKS_PAYER in self._scheduler.blocked:
                    return False
                await self._change()
        return True

    async def _claim(self, skip: Collection[str]) -> ScoringJob | None:
        job = await self.db.write(
            lambda session: submission_queue.claim_submission(
                session,
                self.campaign_id,
                domains=self.problem.climbed_domains,
                seeds=self.seeds,
                secret=self.secret,
                skip=skip,
            )
        )
        if job is not None:
            self._require_audit(job)
            if job.is_done and not job.audit:
                await self._close(job)  # it was reinstated after all its runs were made
        return job

    def _require_audit(self, job: ScoringJob) -> None:
        job.audit = "due" if self._auditor.has_static_audits else ""

    async def _claim_check(self, skip: Collection[str]) -> ScoringJob | None:
        phases = self._auditor.phases()
        job = await self.db.write(
            lambda session: confirmation_queue.claim_check(
                session, self.campaign_id, self.problem, self._plan, phases, self.secret
            )
        )
        if job is not None and job.is_done:
            await self._close(job)
        return job

    async def _lane(self) -> None:
        while True:
            job, spec = await self._scheduler.next()
            result = None
            with CancelScope() as scope:
                job.under_way.add(scope)
                try:
                    if spec is None:
                        await self._audit(job)
                    else:
                        result = await self._make(job, spec)
                finally:
                    job.under_way.discard(scope)
            # The first failure of a submission cancels its other runs, and not the lane that closes it.
            if spec is not None and result is not None:
                await self._count(job, spec, result)

    async def _audit(self, job: ScoringJob) -> None:
        await self._auditor.run_static(await self._finalizer.view(job.number))
        if (await self._finalizer.view(job.number)).state == "held":
            self._scheduler.close(job)
            await self._notify_waiters()
            return
        self._scheduler.mark_audited(job)
        if job.is_done:
            await self._close(job)

    async def _make(self, job: ScoringJob, spec: RunSpec) -> ScoringRunResult | None:
        try:
            return await self._executor.execute(job, spec)
        except LimitReached as limit:
            if limit.breach.scope == "campaign" and job.check_id is None:
                raise
            self._scheduler.block(job, spec, limit)
            await self._notify_waiters()
            return None

    async def _count(self, job: ScoringJob, spec: RunSpec, result: ScoringRunResult) -> None:
        job.unfinished -= 1
        if job.failed:
            return
        if result.score is None and spec.phase in DECISIVE:
            job.drop_remaining()
        elif result.score is None:
            job.drop_phase(spec.phase)
        if job.is_done:
            await self._close(job)

    async def _close(self, job: ScoringJob) -> None:
        """Give a submission or a check its verdict."""
        await self._finalizer.finalize(job)
        self._scheduler.close(job)
        await self._notify_waiters()

    async def _change(self) -> None:
        # A person may disqualify from another process, without a notification here.
        with anyio.move_on_after(_POLL_SECONDS):
            await self._changed.wait()

    async def _notify_waiters(self) -> None:
        async with self._changed:
            self._changed.notify_all()
