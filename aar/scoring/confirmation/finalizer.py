"""Writes the verdict of a submission or check once its runs are over."""

from __future__ import annotations

from functools import partial

import anyio
import structlog
from sqlalchemy.orm import Session

from aar.errors import ProblemError
from aar.problems.plugin_calls import pool_scores
from aar.problems.protocol import Problem
from aar.scoring.audits.audit_runner import AuditRunner
from aar.scoring.audits.protocol import PhaseScores
from aar.scoring.confirmation import confirmation_outcome
from aar.scoring.confirmation.confirmation_queue import CheckPlan
from aar.scoring.phases import DECISIVE, MEASURE, Phase, phase_of
from aar.scoring.queue.run_rows import list_runs
from aar.scoring.queue.scoring_job import ScoringJob
from aar.scoring.results import score_writer
from aar.scoring.submissions.submission_views import SubmissionView, find_submission
from aar.store.database import Database

log = structlog.get_logger(__name__)


class Finalizer:
    """Pools scores, runs audits and writes verdicts.

    If it is killed in between, it repeats the work with the same result.
    """

    def __init__(self, db: Database, campaign_id: str, problem: Problem, auditor: AuditRunner, plan: CheckPlan) -> None:
        self._db = db
        self._campaign_id = campaign_id
        self._problem = problem
        self._auditor = auditor
        self._plan = plan
        self._finishing = anyio.Lock()

    async def finalize(self, work: ScoringJob) -> None:
        """Write the result of the runs.

        A submission whose score the problem cannot pool is set aside alone.
        """
        if work.check_id is not None:
            await self._close_check(work, work.check_id)
        elif work.failed:
            await self._db.write(lambda session: score_writer.reject_submission(session, work.submission_id))
        else:
            async with self._finishing:  # two submissions of the same code pool each other's runs
                try:
                    found = await self._pooled(work.submission_id, MEASURE)
                except ProblemError as error:
                    cause = _told(work, error)
                    fault = error.message
                    await self._db.write(
                        lambda session: score_writer.set_aside_submission(session, work.submission_id, cause, fault)
                    )
                else:
                    if found is not None:
                        await self._db.write(partial(self._measure, work=work, found=found))

    async def _close_check(self, work: ScoringJob, check_id: int) -> None:
        if work.failed:
            await self._db.write(lambda session: confirmation_outcome.fail_check(session, check_id))
        else:
            try:
                phases = await self._answers(work, check_id)
            except ProblemError as error:
                cause, fault = _told(work, error), error.message
                await self._db.write(lambda session: confirmation_outcome.fail_check(session, check_id, cause, fault))
            else:
                await self._finish_check(work, check_id, phases)
        await self._db.write(self._request_leader_confirmation)

    async def _answers(self, work: ScoringJob, check_id: int) -> dict[str, PhaseScores]:
        """Return the phases of a check that have a score.

        Raises ProblemError if a phase that decides has none.
        """
        found = dict[str, PhaseScores]()
        for key in await self._db.read(lambda session: _answered(session, work.submission_id, check_id)):
            phase = phase_of(key)
            try:
                scores = await self._pooled(work.submission_id, phase)
            except ProblemError as error:
                if phase in DECISIVE:
                    raise
                _told(work, error)  # the audit that needs the phase reports that it was not answered
            else:
                if scores is not None:
                    found[key] = scores
        return found

    async def _finish_check(self, work: ScoringJob, check_id: int, phases: dict[str, PhaseScores]) -> None:
        findings = []
        if await self._db.read(lambda session: confirmation_outcome.is_confirmation(session, check_id)):
            before = {}
            try:
                measured = await self._pooled(work.submission_id, MEASURE)
            except ProblemError as error:
                _told(work, error)  # the audits that would compare with it report that they cannot
            else:
                before = {MEASURE.key: measured} if measured is not None else {}
            findings = await self._auditor.run_confirmation(await self.view(work.number), {**before, **phases})
        await self._db.write(
            partial(
                confirmation_outcome.finish_check,
                check_id=check_id,
                phases=phases,
                findings=findings,
                plan=self._plan,
                metric=self._problem.metric,
            )
        )

    async def view(self, number: int) -> SubmissionView:
        """Return a submission as it is now. Raises NotFound."""
        return await self._db.read(lambda session: find_submission(session, self._campaign_id, number))

    def _measure(self, session: Session, work: ScoringJob, found: PhaseScores) -> None:
        score_writer.record_measurement(
            session,
            work.submission_id,
            found.estimate,
            seeds=found.seeds,
            domains=len(self._problem.climbed_domains),
            metric=self._problem.metric,
        )
        self._request_leader_confirmation(session)

    def _request_leader_confirmation(self, session: Session) -> None:
        if self._plan.leaders:
            session.flush()
            better = self._problem.metric.higher_is_better
            confirmation_outcome.request_leader_confirmation(session, self._campaign_id, higher_is_better=better)

    async def _pooled(self, submission_id: int, phase: Phase) -> PhaseScores | None:
        pooled = await self._db.read(lambda session: score_writer.read_pooled_scores(session, submission_id, phase))
        if not pooled.scores:
            return None
        return PhaseScores(await pool_scores(self._problem, pooled.scores), pooled.scores, pooled.seeds)


def _told(work: ScoringJob, error: ProblemError) -> str:
    cause = f"the problem could not pool its scores: {error.message}"
    log.error("a submission is set aside", submission=f"s{work.number}", cause=cause)
    return cause


def _answered(session: Session, submission_id: int, check_id: int) -> list[str]:
    """Return the phases of a check in which no run failed."""
    rows = list_runs(session, submission_id, check_id)
    failed = {row.stage for row in rows if row.state == "failed"}
    return [key for key in dict.fromkeys(row.stage for row in rows) if key not in failed]
