"""Details of a submission beside its board score: phases, audits, checks, history.

``SubmissionDetails.seen_by`` removes details that an audience may not see: researchers could climb on confirmed scores
and on the exact evidence of an audit. Scores per split show people their spread; researchers never see them, for they
could climb on single splits. They are rounded, and come without the seeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.errors import AarError
from aar.problems.protocol import Stage
from aar.problems.registry import find_problem
from aar.scoring.audits.audit_findings import FindingView, latest_findings
from aar.scoring.confirmation_queue import OPEN_CHECK_STATES, CheckView, list_checks
from aar.scoring.phases import phase_of
from aar.scoring.results.score_writer import read_pooled_scores
from aar.scoring.submission_status import StatusView
from aar.scoring.submissions import SHOWN_DECIMALS
from aar.scoring.visibility import Audience, RestrictedData, findings_seen_by, may_see, may_see_phase
from aar.store.models import StageEstimate, StatusChange, Submission

_EVIDENCE_DECIMALS = 3
_DOMAIN_FIELDS = ("mean", "standard_error", "low", "high")


@dataclass(frozen=True, slots=True)
class Score:
    """A score with its standard error and 90 % interval, rounded."""

    mean: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PhaseView:
    """The score of a submission in one phase.

    Args:
        phase: its key: ``measure``, ``confirm``, ``transfer``, ``permuted``, ``noise-20``, ``coordinates``.
        seeds: pooled.
        domains: the same by domain.
    """

    phase: str
    score: Score
    seeds: int
    domains: Mapping[str, Score]


@dataclass(frozen=True, slots=True)
class SubmissionDetails:
    """The details of one submission.

    Everything is in order of time; phases and audits are ordered by name.
    """

    phases: list[PhaseView] = field(default_factory=list)
    audits: list[FindingView] = field(default_factory=list)
    history: list[StatusView] = field(default_factory=list)
    checks: list[CheckView] = field(default_factory=list)

    def phase(self, key: str) -> PhaseView | None:
        """Returns the result of a phase."""
        return next((each for each in self.phases if each.phase == key), None)

    @property
    def confirmed(self) -> PhaseView | None:
        """Returns the result on the sealed splits."""
        return self.phase(Stage.CONFIRM)

    @property
    def transferred(self) -> PhaseView | None:
        """Returns the result on the transfer domains."""
        return self.phase(Stage.TRANSFER)

    def seen_by(self, audience: Audience, *, told: bool) -> SubmissionDetails:
        """Returns the details that an audience may see.

        Args:
            told: True if researchers may see the submission's measured score.
        """
        whole = may_see(audience, RestrictedData.SEALED_SCORES)
        phases = [each for each in self.phases if may_see_phase(audience, each.phase, told)]
        return replace(
            self,
            phases=phases if whole else [replace(each, domains={}) for each in phases],
            audits=findings_seen_by(self.audits, audience),
        )

    @property
    def waiting(self) -> list[CheckView]:
        """Lists the checks that are not finished."""
        return [each for each in self.checks if each.state in OPEN_CHECK_STATES]


def read_submission_details(session: Session, campaign_id: str, number: int) -> SubmissionDetails:
    """Reads one submission's details; empty if there is no such submission."""
    return list_submission_details(session, campaign_id, [number]).get(number, SubmissionDetails())


def list_submission_details(
    session: Session, campaign_id: str, numbers: Collection[int] | None = None
) -> dict[int, SubmissionDetails]:
    """Lists details by submission number, of the given submissions or of all."""
    query = select(Submission).where(Submission.campaign_id == campaign_id)
    if numbers is not None:
        query = query.where(Submission.number.in_(numbers))
    submissions = {each.id: each for each in session.scalars(query.order_by(Submission.number))}
    details = {each.id: SubmissionDetails() for each in submissions.values()}
    for submission in submissions.values():
        if submission.mean is not None:
            details[submission.id].phases.append(_phase(Stage.MEASURE, submission))
    narrow = list(details) if numbers is not None else None
    for row in _rows(session, StageEstimate, campaign_id, narrow):
        details[row.submission_id].phases.append(_phase(row.stage, row))
    for submission_id, audits in latest_findings(session, list(details)).items():
        details[submission_id].audits.extend(replace(each, evidence=round_evidence(each.evidence)) for each in audits)
    for row in _rows(session, StatusChange, campaign_id, narrow):
        details[row.submission_id].history.append(StatusView(row.old, row.new, row.cause, row.by, row.at))
    for check in list_checks(session, campaign_id, narrow[0] if narrow and len(narrow) == 1 else None):
        if check.submission_id in details:
            details[check.submission_id].checks.append(check)
    return {submissions[submission_id].number: each for submission_id, each in details.items()}


def round_evidence(value: Any) -> Any:
    """Rounds the scores in audit evidence to the digits above their noise."""
    match value:
        case float():
            return round(value, _EVIDENCE_DECIMALS) + 0.0
        case Mapping():
            return {str(key): round_evidence(each) for key, each in value.items()}
        case list() | tuple():
            return [round_evidence(each) for each in value]
        case _:
            return value


def _rows(session: Session, table: Any, campaign_id: str, submission_ids: list[int] | None) -> Any:
    query = (
        select(table)
        .join(Submission, Submission.id == table.submission_id)
        .where(Submission.campaign_id == campaign_id)
        .order_by(table.id)
    )
    if submission_ids is not None:
        query = query.where(table.submission_id.in_(submission_ids))
    return session.scalars(query)


def _phase(key: str, row: Submission | StageEstimate) -> PhaseView:
    domains = {
        domain: Score(*(_shown(each[name]) for name in _DOMAIN_FIELDS))
        for domain, each in row.by_domain.items()
        if all(isinstance(each.get(name), (int, float)) for name in _DOMAIN_FIELDS)
    }
    return PhaseView(str(key), Score(*(_shown(getattr(row, name)) for name in _DOMAIN_FIELDS)), row.seeds, domains)


def _shown(value: float | None) -> float:
    return round(value or 0.0, SHOWN_DECIMALS) + 0.0


@dataclass(frozen=True, slots=True)
class SeedScore:
    """The score of one run.

    Its phase's key, its domain, and its number within both, from 1.
    """

    phase: str
    domain: str
    number: int
    score: float


def read_seed_scores(session: Session, problem: str, submission_id: int, phases: Collection[str]) -> list[SeedScore]:
    """Lists the score of each run by phase and domain.

    Empty if the problem is not installed here.

    A run that has no score of its own (its split left no gap to recover) is left out.
    """
    try:
        plugin = find_problem(problem)
    except AarError:
        return []
    scores: list[SeedScore] = []
    for key in phases:
        counted: Counter[str] = Counter()
        pooled = read_pooled_scores(session, submission_id, phase_of(key))
        for task, scored in sorted(pooled.scores, key=lambda one: one[0].domain):
            with suppress(AarError, KeyError, ValueError, ZeroDivisionError):
                mean = plugin.pool([(task, scored)]).mean
                counted[task.domain] += 1
                score = round(mean, SHOWN_DECIMALS) + 0.0
                scores.append(SeedScore(key, task.domain, counted[task.domain], score))
    return scores
