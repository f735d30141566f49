"""Events of a method, from submission to score."""

from __future__ import annotations

from typing import Literal

from aar.events.campaign import Event


class SnapshotTaken(Event):
    kind: Literal["snapshot_taken"] = "snapshot_taken"
    line = "snapshot {digest:.12}"
    digest: str
    parent: str | None


class SubmissionReceived(Event):
    """Code and claim are frozen; no score exists yet."""

    kind: Literal["submission_received"] = "submission_received"
    line = "submission s{number} received: {title}"
    submission_id: int
    number: int
    title: str
    digest: str


class ScoringStarted(Event):
    kind: Literal["scoring_started"] = "scoring_started"
    line = "scoring s{number} on {runs} fresh runs"
    submission_id: int
    number: int
    runs: int


class ScoringRunFinished(Event):
    kind: Literal["scoring_run_finished"] = "scoring_run_finished"
    line = "run {index} of s{number} ({phase}, {domain}): {verdict}"
    submission_id: int
    number: int
    index: int
    phase: str = "measure"
    """Key of the phase that it belongs to, such as ``confirm`` or ``noise-20``."""
    domain: str
    verdict: str
    seconds: float


class SubmissionMeasured(Event):
    kind: Literal["submission_measured"] = "submission_measured"
    line = "s{number} measured: {metric} {score:.3f} ± {standard_error:.3f}"
    submission_id: int
    number: int
    metric: str
    score: float | None
    """None, like the error, if it is withheld from the reader."""
    standard_error: float | None
    best: bool
    """True if it leads the board now."""
    told: bool = True
    """True if researchers see the number."""

    def summary(self) -> str:
        """Return one line for people; without the score if it is withheld."""
        if self.score is None or self.standard_error is None:
            return f"s{self.number} measured, number withheld"
        return super().summary()


class SubmissionRejected(Event):
    kind: Literal["submission_rejected"] = "submission_rejected"
    line = "s{number} has no score: {verdict}"
    submission_id: int
    number: int
    verdict: str


class ProblemFailed(Event):
    """The problem's own code failed over a submission, which was set aside.

    The others go on.
    """

    kind: Literal["problem_failed"] = "problem_failed"
    line = "s{number} set aside: {error}"
    submission_id: int
    number: int
    error: str


class CheckStarted(Event):
    """A check of a measured submission began.

    ``check`` is ``confirmation`` or ``transfer``.
    """

    kind: Literal["check_started"] = "check_started"
    line = "{check} of s{number} on {runs} fresh runs: {cause}"
    submission_id: int
    number: int
    check: str
    runs: int
    cause: str


class CheckFinished(Event):
    """A confirmation or transfer check is over; no score if it failed."""

    kind: Literal["check_finished"] = "check_finished"
    line = "{check} of s{number}: {outcome}"
    submission_id: int
    number: int
    check: str
    outcome: str
    score: float | None = None
    standard_error: float | None = None


class AuditFinished(Event):
    kind: Literal["audit_finished"] = "audit_finished"
    line = "{audit} audit of s{number}: {verdict}: {reason}"
    submission_id: int
    number: int
    audit: str
    verdict: str
    rule: str
    reason: str


class StatusChanged(Event):
    """A submission's status changed.

    ``new`` may also be ``disqualified`` or ``reinstated``.
    """

    kind: Literal["status_changed"] = "status_changed"
    line = "s{number} {old} -> {new}: {cause}"
    submission_id: int
    number: int
    old: str
    new: str
    cause: str
    by: str
