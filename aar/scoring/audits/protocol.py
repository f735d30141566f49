"""The audit interface: a question about a submission, its verdict, reason and evidence.

Audits are plug-ins, found by the entry point group ``aar.audits`` or handed to the scorer. One that reads code runs
when the submission is claimed, before anything of it is executed; one that needs scores runs at a confirmation, on
the runs of the phases that it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from aar.problems.protocol import Estimate, Problem, Task, TaskScore
from aar.scoring.phases import Phase


class AuditVerdict(StrEnum):
    """The possible verdicts of an audit."""

    PASSED = "passed"
    LABELLED = "labelled"
    """Nothing wrong, but people must know: the rule names the label, such as ``teacher-independent``."""
    FLAGGED = "flagged"
    """Suspicious; a person should check it. The score stays on the board."""
    DISQUALIFIED = "disqualified"
    """Off the board until a person reinstates it."""
    SKIPPED = "skipped"
    """Could not be carried out; the reason is given."""


class AuditStage(StrEnum):
    """The time at which an audit runs."""

    SUBMITTED = "submitted"
    """Before the first scoring run, on code and claim alone."""
    CONFIRMED = "confirmed"
    """At a confirmation, with all scores so far."""


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The result of an audit.

    Args:
        audit: its name.
        rule: the rule that was broken, or the label, such as ``static.network``; empty where it passed. Of a skipped
            audit: the note beside the score, such as ``not reviewed: no key``; empty where it does not apply.
        reason: a text for people and for the submission's author: it names no score, label or hidden path.
        evidence: JSON for people who check it closely; never shown to researchers.
    """

    audit: str
    verdict: AuditVerdict
    rule: str
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PhaseScores:
    """The scores of one phase: pooled estimate and task scores, in run order."""

    estimate: Estimate
    scores: Sequence[tuple[Task, TaskScore]]
    seeds: int


@dataclass(frozen=True, slots=True)
class AuditInput:
    """The input of an audit.

    Args:
        number: shown as ``s<number>``.
        code: directory with the frozen code, of its own; it does not change during the audit.
        phases: by phase key (``measure``, ``confirm``, ``permuted``, ``noise-20``); empty before the first run.
    """

    campaign_id: str
    number: int
    title: str
    claim: str
    hypothesis: str
    families: tuple[str, ...]
    code: Path
    problem: Problem
    phases: Mapping[str, PhaseScores] = field(default_factory=dict)


@runtime_checkable
class Audit(Protocol):
    """One question about a submission."""

    name: str
    stage: AuditStage

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """Return the runs needed beside measurement and confirmation.

        None are returned for a problem on which the audit cannot be run.
        """
        ...

    async def judge(self, dossier: AuditInput) -> AuditResult:
        """Judge the submission. CPU-bound work goes to a thread.

        Raises LimitReached if it needs money beyond a limit.
        """
        ...
