"""The history of a submission: frozen code, draws, results, and each change.

For people who check a score. Events, findings and changes of status are rows that the database refuses to change.
Never given to a researcher: it holds seeds, digests of outputs, confirmed scores and the evidence of audits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.problems.protocol import Stage
from aar.scoring.audits.audit_findings import FindingView, similar_submissions
from aar.scoring.confirmation_queue import CheckView, list_checks
from aar.scoring.phases import CONFIRMATION, TRANSFER
from aar.scoring.submission_status import StatusView, status_history
from aar.scoring.submissions import SHOWN_DECIMALS, SubmissionView, get_submission
from aar.store.event_log import LoggedEvent, read_events
from aar.store.models import AuditFinding, ScoringRun, StageEstimate, Submission

_KINDS = (
    *("submission_received", "scoring_started", "scoring_run_finished", "submission_measured", "submission_rejected"),
    *("check_started", "check_finished", "audit_finished", "status_changed"),
)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One scoring run.

    Args:
        phase: its key: measure, confirm, transfer, permuted, noise-20, coordinates.
        drawn_at: when its seeds were drawn: after the code was frozen.
        seed: given to the method.
        split_seed: names the split that it was scored on.
        output_digest: SHA-256 of the method's output; None without output.
        verdict: how it ended, for the author; empty where it was scored.
        seconds: the method's own run time.
    """

    phase: str
    index: int
    domain: str
    drawn_at: datetime | None
    seed: int | None
    split_seed: int | None
    state: str
    output_digest: str | None
    verdict: str
    seconds: float


@dataclass(frozen=True, slots=True)
class EstimateRecord:
    """A pooled score of one phase, rounded; ``seeds`` is how many it pools."""

    phase: str
    mean: float
    standard_error: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True, slots=True)
class HappeningRecord:
    """An event about the submission; ``id`` is its place in the campaign's log."""

    id: int
    at: datetime
    kind: str
    line: str


@dataclass(frozen=True, slots=True)
class SubmissionRecord:
    """The whole history of a submission, each list in order of time.

    Args:
        same_code: other submissions of the same files, whose runs share one estimate with its own.
        alike: submissions whose code differs in layout and names alone: a hint, nothing acts on it.
        charged_runs: scoring runs that were counted against the quotas when it was submitted.
        audits: every answer, those that a later answer of the same audit replaced too.
    """

    submission: SubmissionView
    same_code: Sequence[int]
    alike: Sequence[int]
    charged_runs: int
    runs: Sequence[RunRecord]
    estimates: Sequence[EstimateRecord]
    audits: Sequence[FindingView]
    changes: Sequence[StatusView]
    checks: Sequence[CheckView]
    happenings: Sequence[HappeningRecord]


def read_submission_record(session: Session, campaign_id: str, number: int) -> SubmissionRecord:
    """Read the history of a submission. Raises NotFound."""
    view = get_submission(session, campaign_id, number)
    row = session.get_one(Submission, view.id)
    same = select(Submission.number).where(
        Submission.campaign_id == campaign_id, Submission.digest == row.digest, Submission.id != row.id
    )
    events = _events(session, row)
    checks = list_checks(session, campaign_id, row.id)
    return SubmissionRecord(
        submission=view,
        same_code=list(session.scalars(same.order_by(Submission.number))),
        alike=similar_submissions(session, row.id),
        charged_runs=row.charged_runs,
        runs=_runs(session, row, _drawn_at(events, checks)),
        estimates=_estimates(session, row),
        audits=_findings(session, row),
        changes=status_history(session, row.id),
        checks=checks,
        happenings=[HappeningRecord(each.id, each.at, each.event.kind, each.event.summary()) for each in events],
    )


def _events(session: Session, submission: Submission) -> list[LoggedEvent]:
    """Return the submission's own part of its campaign's log."""
    events: list[LoggedEvent] = []
    author, after = submission.researcher_id, 0
    while page := read_events(session, submission.campaign_id, after=after, researcher_id=author, kinds=_KINDS):
        events += [each for each in page if getattr(each.event, "submission_id", None) == submission.id]
        after = page[-1].id
    return events


def _drawn_at(events: Sequence[LoggedEvent], checks: Sequence[CheckView]) -> dict[int | None, datetime]:
    """Return the times at which the runs of each check were drawn.

    The key None holds those of the measurement.
    """
    times: dict[int | None, datetime] = {}
    started = [each for each in events if each.event.kind == "scoring_started"]
    if started:
        times[None] = started[0].at
    for kind in (CONFIRMATION, TRANSFER):
        started_checks = [each for each in events if each.event.kind == "check_started" and each.event.check == kind]
        requested = sorted((each for each in checks if each.kind == kind), key=lambda each: each.id)
        times |= {check.id: event.at for check, event in zip(requested, started_checks, strict=False)}
    return times


def _runs(session: Session, submission: Submission, drawn_at: dict[int | None, datetime]) -> list[RunRecord]:
    rows = session.scalars(select(ScoringRun).where(ScoringRun.submission_id == submission.id).order_by(ScoringRun.id))
    return [
        RunRecord(
            phase=row.stage,
            index=row.index,
            domain=row.domain,
            drawn_at=drawn_at.get(row.check_id),
            seed=row.seed,
            split_seed=row.split_seed,
            state=row.state,
            output_digest=row.output_digest,
            verdict=row.verdict,
            seconds=row.seconds,
        )
        for row in rows
    ]


def _estimates(session: Session, submission: Submission) -> list[EstimateRecord]:
    measured = [_estimate(Stage.MEASURE, submission)] if submission.mean is not None else []
    rows = select(StageEstimate).where(StageEstimate.submission_id == submission.id).order_by(StageEstimate.id)
    return measured + [_estimate(row.stage, row) for row in session.scalars(rows)]


def _estimate(phase: str, row: Submission | StageEstimate) -> EstimateRecord:
    mean, error, low, high = (
        round(value or 0.0, SHOWN_DECIMALS) + 0.0 for value in (row.mean, row.standard_error, row.low, row.high)
    )
    return EstimateRecord(str(phase), mean, error, low, high, row.seeds)


def _findings(session: Session, submission: Submission) -> list[FindingView]:
    rows = session.scalars(
        select(AuditFinding).where(AuditFinding.submission_id == submission.id).order_by(AuditFinding.id)
    )
    return [FindingView(row.audit, row.verdict, row.rule, row.reason, row.evidence, row.at) for row in rows]
