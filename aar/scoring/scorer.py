"""The scorer: takes submissions from the queue, has them run in the clean room, and writes the scores.

It may be killed at any moment. A run's result and its ledger entry are one transaction; a run without a result is
made again with the same seeds; a result, once there, is never replaced.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import anyio
import anyio.to_thread
from anyio import CancelScope

from aar.budget.ledger import Ledger
from aar.errors import LimitReached
from aar.problems.protocol import Problem
from aar.scoring import queue, records
from aar.scoring.agenda import Agenda
from aar.scoring.cleanroom import CleanRoom
from aar.scoring.execution import Executor
from aar.scoring.groups import one_error
from aar.scoring.submissions import SubmissionView, get_submission
from aar.scoring.work import RunTicket, Work
from aar.store.database import Database


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
        self._executor = Executor(db, campaign_id, problem, clean_room, ledger, parallel)
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
        with one_error():
            async with anyio.create_task_group() as lanes:
                # One lane more than runs at a time: it prepares the next split meanwhile.
                for _ in range(self._parallel + 1):
                    lanes.start_soon(self._lane)

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

    async def _lane(self) -> None:
        while True:
            work, ticket = await self._agenda.next()
            with CancelScope() as scope:
                work.under_way.add(scope)
                try:
                    await self._make(work, ticket)
                finally:
                    work.under_way.discard(scope)

    async def _make(self, work: Work, ticket: RunTicket) -> None:
        try:
            trial = await self._executor.execute(work, ticket)
        except LimitReached as limit:
            if limit.breach.scope == "campaign":
                raise
            self._agenda.park(work, ticket, limit)
            await self._tell()
            return
        # The first failure of a submission cancels its other runs, this one's lane among them.
        with CancelScope(shield=True):
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
