"""Writes the verdict of a submission or check once its runs are over.

The outcome of a confirmation or transfer check: pool the scores, apply the audits' findings, decide if the measured
score is confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import anyio
import structlog
from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from aar.errors import ProblemError
from aar.events import CheckFinished
from aar.problems.plugin_calls import pool_scores
from aar.problems.protocol import Estimate, Metric, Problem
from aar.problems.statistics import check_estimate
from aar.scoring.audits.audit_findings import latest_findings, record_finding
from aar.scoring.audits.audit_runner import AuditRunner
from aar.scoring.audits.protocol import AuditResult, AuditVerdict, PhaseScores
from aar.scoring.confirmation_queue import CheckPlan, close_check, had_check, request_check
from aar.scoring.phases import CONFIRM, CONFIRMATION, DECISIVE, MEASURE, ON_TRANSFER_DOMAINS, Phase, phase_of
from aar.scoring.results import score_writer, verdict_messages
from aar.scoring.results.leaderboard import read_ranked_rows
from aar.scoring.results.ranking_statistics import (
    ScoreSample,
    fit_variance_prior,
    make_sample,
    refutes,
    sample_from_estimate,
)
from aar.scoring.submission_queue import ScoringJob, list_runs, skip_unfinished
from aar.scoring.submission_status import SCORER, disqualify, record_confirmation, submissions_of_same_code
from aar.scoring.submissions import SHOWN_DECIMALS, SubmissionView, get_submission
from aar.store.column_types import now
from aar.store.database import Database
from aar.store.event_log import append_event
from aar.store.models import StageEstimate, StatusChange, Submission, SubmissionCheck

log = structlog.get_logger(__name__)

_SAMPLED = (Submission.mean, Submission.standard_error, Submission.freedom, Submission.seeds, Submission.by_domain)
_WHERE = {CONFIRM.key: "the sealed split", ON_TRANSFER_DOMAINS.key: "the transfer domains"}


@dataclass(eq=False)
class Finalizer:
    """Pools scores, runs audits and writes verdicts.

    If it is killed in between, it repeats the work with the same result.
    """

    db: Database
    campaign_id: str
    problem: Problem
    auditor: AuditRunner
    plan: CheckPlan
    _finishing: anyio.Lock = field(default_factory=anyio.Lock, init=False)

    async def finalize(self, job: ScoringJob) -> None:
        """Write the result of the runs.

        A submission whose score the problem cannot pool is set aside alone.
        """
        if job.check_id is not None:
            await self._finalize_check(job, job.check_id)
        elif job.failed:
            await self.db.write(lambda session: score_writer.reject_submission(session, job.submission_id))
        else:
            async with self._finishing:  # two submissions of the same code pool each other's runs
                try:
                    measured = await self._pool(job, MEASURE)
                except ProblemError as error:
                    cause, fault = _unpooled(error), error.message
                    await self.db.write(
                        lambda session: score_writer.set_aside_submission(session, job.submission_id, cause, fault)
                    )
                else:
                    if measured is not None:
                        await self.db.write(partial(self._record_measurement, job=job, measured=measured))

    async def view(self, number: int) -> SubmissionView:
        """Return a submission as it is now. Raises NotFound."""
        return await self.db.read(lambda session: get_submission(session, self.campaign_id, number))

    def _record_measurement(self, session: Session, job: ScoringJob, measured: PhaseScores) -> None:
        score_writer.record_measurement(
            session,
            job.submission_id,
            measured.estimate,
            seeds=measured.seeds,
            domains=len(self.problem.climbed_domains),
            metric=self.problem.metric,
        )
        self._request_leader_confirmation(session)

    async def _finalize_check(self, job: ScoringJob, check_id: int) -> None:
        if job.failed:
            await self.db.write(lambda session: _fail_check(session, check_id))
        else:
            try:
                phases = await self._pool_check(job, check_id)
            except ProblemError as error:
                cause, fault = _unpooled(error), error.message
                await self.db.write(lambda session: _fail_check(session, check_id, cause, fault))
            else:
                await self._finish_check(job, check_id, phases)
        await self.db.write(self._request_leader_confirmation)

    async def _pool_check(self, job: ScoringJob, check_id: int) -> dict[str, PhaseScores]:
        """Return the phases of a check that have a score.

        Raises ProblemError if a phase that decides has none.
        """
        pooled = dict[str, PhaseScores]()
        for key in await self.db.read(lambda session: _succeeded_phases(session, job.submission_id, check_id)):
            phase = phase_of(key)
            try:
                scores = await self._pool(job, phase)
            except ProblemError:
                if phase in DECISIVE:
                    raise
                continue  # the audit that needs the phase reports that it was not answered
            if scores is not None:
                pooled[key] = scores
        return pooled

    async def _finish_check(self, job: ScoringJob, check_id: int, phases: dict[str, PhaseScores]) -> None:
        findings = []
        check = await self.db.read(lambda session: session.get_one(SubmissionCheck, check_id).kind)
        if check == CONFIRMATION:
            before = {}
            with suppress(ProblemError):  # the audits that would compare with it report that they cannot
                measured = await self._pool(job, MEASURE)
                before = {MEASURE.key: measured} if measured is not None else {}
            findings = await self.auditor.run_confirmation(await self.view(job.number), before | phases)
        await self.db.write(
            partial(
                finish_check,
                check_id=check_id,
                phases=phases,
                findings=findings,
                plan=self.plan,
                metric=self.problem.metric,
            )
        )

    def _request_leader_confirmation(self, session: Session) -> None:
        if self.plan.leaders:
            session.flush()
            better = self.problem.metric.higher_is_better
            request_leader_confirmation(session, self.campaign_id, higher_is_better=better)

    async def _pool(self, job: ScoringJob, phase: Phase) -> PhaseScores | None:
        """Pool a phase's scores; None if it has none. Logs a ProblemError and raises it."""
        pooled = await self.db.read(lambda session: score_writer.read_pooled_scores(session, job.submission_id, phase))
        if not pooled.scores:
            return None
        try:
            return PhaseScores(await pool_scores(self.problem, pooled.scores), pooled.scores, pooled.seeds)
        except ProblemError as error:
            log.error("a submission is set aside", submission=f"s{job.number}", cause=_unpooled(error))
            raise


def _unpooled(error: ProblemError) -> str:
    return f"the problem could not pool its scores: {error.message}"


def _succeeded_phases(session: Session, submission_id: int, check_id: int) -> list[str]:
    """Return the phases of a check in which no run failed."""
    rows = list_runs(session, submission_id, check_id)
    failed = {row.stage for row in rows if row.state == "failed"}
    return [key for key in dict.fromkeys(row.stage for row in rows) if key not in failed]


def _store_estimates(session: Session, submission_id: int, phases: Mapping[str, PhaseScores]) -> None:
    """Write a submission's pooled scores, over all runs so far of each phase.

    Raises:
        ProblemError: an estimate is not a finite number.
    """
    for key, found in phases.items():
        estimate = check_estimate(found.estimate)
        query = select(StageEstimate).where(StageEstimate.submission_id == submission_id, StageEstimate.stage == key)
        row = session.scalars(query).one_or_none() or StageEstimate(submission_id=submission_id, stage=key)
        row.mean, row.standard_error = estimate.mean, estimate.standard_error
        row.low, row.high, row.seeds, row.updated_at = estimate.low, estimate.high, found.seeds, now()
        row.freedom = estimate.freedom
        row.by_domain = {domain: asdict(part) for domain, part in estimate.by_domain.items()}
        session.add(row)


def finish_check(
    session: Session,
    check_id: int,
    phases: Mapping[str, PhaseScores],
    findings: Sequence[AuditResult],
    *,
    plan: CheckPlan,
    metric: Metric,
) -> None:
    """Close a finished check; a confirmation settles the submission's status.

    Args:
        phases: the phases of this check that ran, pooled; the measurement is not among them.
        findings: of the audits of a confirmation.
    """
    check = close_check(session, check_id, "done")
    if check is None:
        return
    submission = session.get_one(Submission, check.submission_id)
    skip_unfinished(session, submission.id, check_id)
    _store_estimates(session, submission.id, phases)
    for finding in findings:
        record_finding(session, submission, finding)
    key = CONFIRM.key if check.kind == CONFIRMATION else ON_TRANSFER_DOMAINS.key
    estimate = phases[key].estimate if key in phases else None
    if check.kind == CONFIRMATION and estimate is not None:
        refuted = _refutes(session, submission, phases[key], plan, metric)
        status = "refuted" if refuted else "confirmed"
        cause = (
            f"{phases[key].seeds} fresh seeds on the sealed split "
            f"{'do not bear' if refuted else 'bear'} the measured score out"
        )
        _announce(session, check, submission, status, estimate)
        record_confirmation(session, submission, status, cause, SCORER)
        _disqualify(session, submission, findings)
    else:
        _announce(session, check, submission, "measured" if estimate else "nothing to run on", estimate)
    _notify_authors(session, submission)


def _fail_check(session: Session, check_id: int, cause: str = "", fault: str = "") -> None:
    """Close a check with a failed run: a confirmation refutes, a transfer changes nothing.

    Where the problem could not prepare a run or pool the scores, nothing is known about the method: the submission's
    status does not change, and it is named as one that could not be confirmed.

    Args:
        cause: the reason that there is no score though every run succeeded.
        fault: the error in the problem's code, for people.
    """
    check = close_check(session, check_id, "failed")
    if check is None:
        return
    submission = session.get_one(Submission, check.submission_id)
    rows = skip_unfinished(session, submission.id, check_id)
    bad = next((row for row in rows if row.state == "failed" and phase_of(row.stage) in DECISIVE), None)
    where = "" if bad is None else f"{_WHERE[bad.stage]} ({bad.domain})"
    unknown = (
        cause
        if bad is None
        else verdict_messages.UNPREPARED_CAUSE * (bad.verdict == verdict_messages.PREPARATION_FAILED_MESSAGE)
    )
    if unknown:
        what = "could not be confirmed" if check.kind == CONFIRMATION else "has no score"
        outcome = f"{what}: {unknown}" + (f" for {where}" if where else "")
    else:
        outcome = f"did not run on {where}"
    _announce(session, check, submission, outcome, None)
    if fault:
        score_writer.log_problem_fault(session, submission, fault)
    if check.kind == CONFIRMATION:
        if not unknown:
            record_confirmation(session, submission, "refuted", f"it {outcome}", SCORER)
        _notify_authors(session, submission, verdict_messages.UNCONFIRMED if unknown else "")


def request_leader_confirmation(session: Session, campaign_id: str, *, higher_is_better: bool) -> bool:
    """Request a confirmation of the submission that would lead the board.

    Nothing is requested if it has or had one.

    Returns:
        True if one was requested.
    """
    rows = read_ranked_rows(session, campaign_id, higher_is_better=higher_is_better)[:1]
    if not rows or rows[0].submission.status != "measured":
        return False
    leader = rows[0].submission
    if had_check(session, leader.id, CONFIRMATION):
        return False
    request_check(session, campaign_id, leader.id, CONFIRMATION, "it would take first place", SCORER)
    return True


def _refutes(session: Session, submission: Submission, found: PhaseScores, plan: CheckPlan, metric: Metric) -> bool:
    made = session.scalar(
        select(func.count(SubmissionCheck.id)).where(
            SubmissionCheck.campaign_id == submission.campaign_id, SubmissionCheck.kind == CONFIRMATION
        )
    )
    better = metric.higher_is_better
    codes = _measured_codes(session, submission.campaign_id, better)
    return refutes(
        _sample(submission, better),
        sample_from_estimate(found.estimate, found.seeds, higher_is_better=better),
        tries=max(1, len(codes)),
        checks=max(1, plan.top, made or 0),
        common=fit_variance_prior(list(codes.values())),
    )


def _measured_codes(session: Session, campaign_id: str, higher_is_better: bool) -> dict[str, ScoreSample]:
    """Return the score of each code by its identity, with any status.

    Code that is off the board was a try too.
    """
    session.flush()
    rows = session.execute(
        select(Submission.identity, Submission.digest, *_SAMPLED).where(
            Submission.campaign_id == campaign_id, Submission.state == "measured", Submission.mean.is_not(None)
        )
    )
    return {row.identity or row.digest: _sample(row, higher_is_better) for row in rows}


def _sample(row: Submission | Row[Any], higher_is_better: bool) -> ScoreSample:
    return make_sample(
        row.mean or 0.0,
        row.standard_error or 0.0,
        row.freedom,
        row.seeds,
        row.by_domain,
        higher_is_better=higher_is_better,
    )


def _disqualify(session: Session, submission: Submission, findings: Sequence[AuditResult]) -> None:
    broken = next((each for each in findings if each.verdict is AuditVerdict.DISQUALIFIED), None)
    if broken is None or submission.disqualified:
        return
    pardoned = select(StatusChange.id).where(
        StatusChange.submission_id == submission.id, StatusChange.new == "reinstated"
    )
    if session.scalars(pardoned.limit(1)).first() is None:  # a person's decision overrides an audit's
        disqualify(session, submission.id, broken.rule, broken.reason, broken.audit)


def _announce(
    session: Session, check: SubmissionCheck, submission: Submission, outcome: str, estimate: Estimate | None
) -> None:
    event = CheckFinished(
        submission_id=submission.id,
        number=submission.number,
        check=check.kind,
        outcome=outcome,
        score=None if estimate is None else round(estimate.mean, SHOWN_DECIMALS),
        standard_error=None if estimate is None else round(estimate.standard_error, SHOWN_DECIMALS),
    )
    append_event(session, submission.campaign_id, event, submission.researcher_id)


def _notify_authors(session: Session, submission: Submission, last_line: str = "") -> None:
    session.flush()
    rows = submissions_of_same_code(session, submission)
    found = latest_findings(session, [row.id for row in rows])
    for row in rows:
        # The first line is the measurement's; the others are written again each time.
        more = verdict_messages.confirmation_verdict(row.status, found[row.id] or found[submission.id])
        row.verdict = "\n".join(filter(None, (row.verdict.split("\n", 1)[0], more, last_line)))
