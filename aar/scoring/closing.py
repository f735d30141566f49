"""Giving a submission or a check its verdict once its runs are over."""

from __future__ import annotations

from functools import partial

import anyio
import anyio.to_thread
from sqlalchemy.orm import Session

from aar.problems.protocol import Problem
from aar.scoring import confirmation, records
from aar.scoring.auditing import Auditor
from aar.scoring.audits.protocol import PhaseScores
from aar.scoring.checks import CheckPlan
from aar.scoring.phases import MEASURE, Phase, phase_of
from aar.scoring.runs import runs_of
from aar.scoring.submission_views import SubmissionView, find_submission
from aar.scoring.work import Work
from aar.store.database import Database


class Closer:
    """Pools, asks the audits and writes; killed in between, it does so again and comes to the same."""

    def __init__(self, db: Database, campaign_id: str, problem: Problem, auditor: Auditor, plan: CheckPlan) -> None:
        self._db = db
        self._campaign_id = campaign_id
        self._problem = problem
        self._auditor = auditor
        self._plan = plan
        self._finishing = anyio.Lock()

    async def close(self, work: Work) -> None:
        """Write what the runs came to. Raises ProblemError where the problem pooled no number."""
        if work.check_id is not None:
            await self._close_check(work, work.check_id)
        elif work.failed:
            await self._db.write(lambda session: records.reject(session, work.submission_id))
        else:
            async with self._finishing:  # two submissions of the same code pool each other's runs
                found = await self._pooled(work.submission_id, MEASURE)
                if found is not None:
                    await self._db.write(partial(self._measure, work=work, found=found))

    async def _close_check(self, work: Work, check_id: int) -> None:
        if work.failed:
            await self._db.write(lambda session: confirmation.fail_check(session, check_id))
        else:
            keys = await self._db.read(lambda session: _answered(session, work.submission_id, check_id))
            found = {key: await self._pooled(work.submission_id, phase_of(key)) for key in keys}
            phases = {key: scores for key, scores in found.items() if scores is not None}
            findings = []
            if await self._db.read(lambda session: confirmation.is_confirmation(session, check_id)):
                measured = await self._pooled(work.submission_id, MEASURE)
                before = {MEASURE.key: measured} if measured is not None else {}
                findings = await self._auditor.look(await self.view(work.number), {**before, **phases})
            await self._db.write(
                partial(
                    confirmation.finish_check,
                    check_id=check_id,
                    phases=phases,
                    findings=findings,
                    plan=self._plan,
                    metric=self._problem.metric,
                )
            )
        await self._db.write(self._ask_for_leader)

    async def view(self, number: int) -> SubmissionView:
        """A submission as it stands. Raises NotFound."""
        return await self._db.read(lambda session: find_submission(session, self._campaign_id, number))

    def _measure(self, session: Session, work: Work, found: PhaseScores) -> None:
        records.measure(
            session,
            work.submission_id,
            found.estimate,
            seeds=found.seeds,
            domains=len(self._problem.climbed_domains),
            metric=self._problem.metric,
        )
        self._ask_for_leader(session)

    def _ask_for_leader(self, session: Session) -> None:
        if self._plan.leaders:
            session.flush()
            better = self._problem.metric.higher_is_better
            confirmation.ask_for_leader(session, self._campaign_id, higher_is_better=better)

    async def _pooled(self, submission_id: int, phase: Phase) -> PhaseScores | None:
        pooled = await self._db.read(lambda session: records.pooled_scores(session, submission_id, phase))
        if not pooled.scores:
            return None
        estimate = await anyio.to_thread.run_sync(self._problem.pool, pooled.scores)
        return PhaseScores(estimate, pooled.scores, pooled.seeds)


def _answered(session: Session, submission_id: int, check_id: int) -> list[str]:
    """The phases of a check in which no run failed."""
    rows = runs_of(session, submission_id, check_id)
    failed = {row.stage for row in rows if row.state == "failed"}
    return [key for key in dict.fromkeys(row.stage for row in rows) if key not in failed]
