"""The scorer: takes submissions from the queue, has them run in the clean room, and writes the scores.

It may be killed at any moment. A run's result and its ledger entry are one transaction; a run without a result is
made again with the same seeds; a result, once there, is never replaced.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from uuid import uuid4

import anyio
import anyio.to_thread
from anyio import CancelScope, CapacityLimiter
from sqlalchemy.orm import Session

from aar.budget.ledger import Ledger
from aar.errors import AarError, LimitReached
from aar.problems.protocol import Problem
from aar.scoring import queue, records
from aar.scoring.agenda import Agenda
from aar.scoring.bundles import prepared
from aar.scoring.cleanroom import CleanRoom
from aar.scoring.submissions import SubmissionView, get_submission
from aar.scoring.trial import Trial, run_trial
from aar.scoring.work import RunTicket, Work
from aar.store.database import Database

_RATE_PAUSE_SECONDS = 5.0


class Scorer:
    """Scores one campaign's submissions; one scorer per campaign at a time.

    Args:
        db: where the queue is and the scores go.
        clean_room: whose work folder this scorer alone uses.
        ledger: where each run's core-seconds are reserved.
        seeds: fresh seeds per submission, each run on every domain climbed on.
        parallel: methods running at the same time.
        secret: the campaign's, from which seeds and splits are drawn.
    """

    def __init__(
        self,
        db: Database,
        campaign_id: str,
        problem: Problem,
        clean_room: CleanRoom,
        ledger: Ledger,
        *,
        seeds: int,
        parallel: int,
        secret: str,
    ) -> None:
        self._db = db
        self._campaign_id = campaign_id
        self._problem = problem
        self._clean_room = clean_room
        self._ledger = ledger
        self._seeds = seeds
        self._parallel = parallel
        self._secret = secret
        self._agenda = Agenda(self._claim, [])
        self._changed = anyio.Condition()
        self._finishing = anyio.Lock()

    async def serve(self) -> None:
        """Score for ever; cancel it to stop.

        Raises:
            LimitReached: a limit of the whole campaign leaves no room for another run.
            SandboxUnavailable, SandboxError: sandboxes no longer work here.
            ProblemError, DataMissing: the problem broke its contract.
        """
        await self._clean_room.sweep(self._campaign_id)
        left = await self._db.write(lambda session: queue.take_up(session, self._campaign_id))
        self._agenda = Agenda(self._claim, left)
        for work in [work for work in left if work.failed or not work.unfinished]:
            await self._close(work)
        slots, threads = CapacityLimiter(self._parallel), CapacityLimiter(self._parallel)
        try:
            async with anyio.create_task_group() as lanes:
                # One lane more than runs at a time: it prepares the next split meanwhile.
                for _ in range(self._parallel + 1):
                    lanes.start_soon(self._lane, slots, threads)
        except ExceptionGroup as group:
            raise _first(group) from group

    def notify(self) -> None:
        """A submission was committed: start on it now instead of at the next look."""
        self._agenda.wake()

    async def wait_for(self, submission_number: int, timeout: float) -> SubmissionView:
        """The submission once it has its verdict, or as it stands after ``timeout`` seconds.

        Raises:
            NotFound: no such submission.
            LimitReached: its researcher is at a limit, so it will not be scored until that is raised.
        """
        self.notify()
        view = await self._view(submission_number)
        with anyio.move_on_after(timeout):
            async with self._changed:
                while not view.finished:
                    if view.researcher_id in self._agenda.parked:
                        raise self._agenda.parked[view.researcher_id]
                    # Read under the lock: a verdict that comes now cannot slip between the look and the wait.
                    view = await self._view(submission_number)
                    if not view.finished:
                        await self._changed.wait()
        return await self._view(submission_number)

    async def drain(self) -> None:
        """Return once every submission has its verdict, except those of researchers at a limit."""
        self.notify()
        async with self._changed:
            while await self._db.read(
                lambda session: queue.count_unfinished(session, self._campaign_id, tuple(self._agenda.parked))
            ):
                await self._changed.wait()

    async def _view(self, number: int) -> SubmissionView:
        return await self._db.read(lambda session: get_submission(session, self._campaign_id, number))

    async def _claim(self, skip: Collection[str]) -> Work | None:
        return await self._db.write(
            lambda session: queue.claim_next(
                session,
                self._campaign_id,
                domains=self._problem.climbed_domains,
                seeds=self._seeds,
                secret=self._secret,
                skip=skip,
            )
        )

    async def _lane(self, slots: CapacityLimiter, threads: CapacityLimiter) -> None:
        while True:
            work, ticket = await self._agenda.next()
            with CancelScope() as scope:
                work.under_way.add(scope)
                try:
                    await self._score(work, ticket, slots, threads)
                finally:
                    work.under_way.discard(scope)

    async def _score(self, work: Work, ticket: RunTicket, slots: CapacityLimiter, threads: CapacityLimiter) -> None:
        request_id = f"{self._campaign_id}-s{work.number}-{ticket.index}-{uuid4().hex[:12]}"
        try:
            await self._reserve(request_id, work)
        except LimitReached as limit:
            if limit.breach.scope == "campaign":
                raise
            self._agenda.park(work, ticket, limit)
            await self._tell()
            return
        try:
            trial = await self._try(work, ticket, slots, threads)
        except BaseException:
            with CancelScope(shield=True):
                await self._ledger.release(request_id)
            raise
        await self._record(work, ticket, trial, request_id)

    async def _reserve(self, request_id: str, work: Work) -> None:
        limits = self._problem.run_limits
        while True:
            try:
                await self._ledger.reserve_compute(
                    request_id=request_id,
                    researcher_id=work.researcher_id,
                    kind="scoring",
                    core_seconds=limits.seconds * limits.cpus,
                )
                return
            except LimitReached as limit:
                if limit.breach.limit != "usd_per_agent_hour":
                    raise
            # A rate frees itself as hours are worked.
            await anyio.sleep(_RATE_PAUSE_SECONDS)

    async def _try(self, work: Work, ticket: RunTicket, slots: CapacityLimiter, threads: CapacityLimiter) -> Trial:
        async with prepared(
            self._problem,
            self._clean_room.work_dir,
            domain=ticket.domain,
            stage=ticket.stage,
            split_seed=ticket.split_seed,
            limiter=threads,
        ) as task:
            await self._db.write(lambda session: records.start_run(session, ticket.run_id))
            return await run_trial(
                self._problem,
                self._clean_room,
                task,
                work.digest,
                ticket.seed,
                owner=self._campaign_id,
                slot=slots,
                limiter=threads,
            )

    async def _record(self, work: Work, ticket: RunTicket, trial: Trial, request_id: str) -> None:
        core_seconds = trial.seconds * self._problem.run_limits.cpus

        def write(session: Session) -> bool:
            self._ledger.settle_compute_in(session, request_id, core_seconds)
            return records.finish_run(session, self._campaign_id, ticket.run_id, trial)

        # Shielded: the first failure of a submission cancels its other runs, and must not stop half-way itself.
        with CancelScope(shield=True):
            await self._db.write(write)
            work.unfinished -= 1
            if work.failed:
                return
            if trial.score is None:
                work.fail()
            if work.failed or not work.unfinished:
                await self._close(work)

    async def _close(self, work: Work) -> None:
        """Give a submission its verdict."""
        async with self._finishing:
            if work.failed:
                await self._db.write(lambda session: records.reject(session, work.submission_id))
            else:
                pooled = await self._db.read(lambda session: records.pooled_scores(session, work.submission_id))
                estimate = await anyio.to_thread.run_sync(self._problem.pool, pooled.scores)
                await self._db.write(
                    partial(
                        records.measure,
                        submission_id=work.submission_id,
                        estimate=estimate,
                        seeds=pooled.seeds,
                        domains=len(self._problem.climbed_domains),
                        metric=self._problem.metric,
                    )
                )
            self._agenda.close(work)
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """The one error that tells a person what happened: lanes usually break over the same thing."""
    ours = group.subgroup(AarError)
    first: Exception = ours or group
    while isinstance(first, ExceptionGroup) and (ours or len(first.exceptions) == 1):
        first = first.exceptions[0]
    return first
