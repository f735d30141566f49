"""The teacher audit: checks that a score falls when the teacher's labels are permuted."""

from __future__ import annotations

from collections.abc import Sequence

from aar.problems.protocol import Problem, SupervisedProblem
from aar.scoring.audits.protocol import AuditInput, AuditResult, AuditStage, AuditVerdict
from aar.scoring.audits.score_drop import teacher_effect, uncorrupted_scores
from aar.scoring.phases import PERMUTED, Phase

TEACHER_INDEPENDENT = "teacher-independent"
MOSTLY_TEACHER_INDEPENDENT = "mostly-teacher-independent"
MOSTLY_INDEPENDENT_SHARE = 0.5
"""Share of the score that permuting must surely take for the method to pass."""


class TeacherAudit:
    """Labels a method whose score survives permuted weak labels.

    The labels are permuted within their domain.

    A permutation changes only which item a label belongs to, so the score that is left comes from something else: the
    method's own representation, prompts, or data it should not have. The first two are honest elicitation, so this is a
    label and no more. One that surely loses something, and not surely half of its score, is labelled too: a share of
    the teacher in the mixture would buy a pass otherwise. That is for metrics that name a ``plain`` level, whose zero
    means that nothing was gained over the teacher. The test is one-sided at 95 %, against the confirmation's score and
    by its error (``score_drop.teacher_effect``).
    """

    name = "teacher"
    stage = AuditStage.CONFIRMED

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """Return the permuted runs; none if there is no teacher."""
        return (PERMUTED,) if isinstance(problem, SupervisedProblem) else ()

    async def judge(self, dossier: AuditInput) -> AuditResult:
        """Compare the permuted score with the unchanged one."""
        if not isinstance(dossier.problem, SupervisedProblem):
            return AuditResult(self.name, AuditVerdict.SKIPPED, "", f"{dossier.problem.name} has no teacher to permute")
        before, after = uncorrupted_scores(dossier), dossier.phases.get(PERMUTED.key)
        if before is None:
            return AuditResult(self.name, AuditVerdict.SKIPPED, "", "there is no score to compare with")
        if after is None:
            return failed_run_result(self.name, "teacher.unanswered", "permuted teacher labels")
        found = teacher_effect(before, after, dossier.problem.metric)
        evidence = {
            "undisturbed": before.estimate.mean,
            "permuted": after.estimate.mean,
            "fall": found.size,
            "standard_error": found.standard_error,
            "low": found.low,
            "high": found.high,
            "share_surviving": _share(before.estimate.mean, after.estimate.mean),
        }
        plain = dossier.problem.metric.plain
        if plain is not None and 0 < _surely_lost(found.low, before.estimate.mean) < MOSTLY_INDEPENDENT_SHARE:
            reason = (
                "Much of the score is as high with the teacher's labels permuted: it is not certain that even half "
                "of it comes from the teacher. That is no fault; it is shown beside the score."
            )
            return AuditResult(self.name, AuditVerdict.LABELLED, MOSTLY_TEACHER_INDEPENDENT, reason, evidence)
        if found.low > 0:
            reason = "The score falls when the teacher's labels are permuted: the method uses its teacher."
            return AuditResult(self.name, AuditVerdict.PASSED, "", reason, evidence)
        reason = (
            "The score is as high with the teacher's labels permuted as with the real ones: the method does not use "
            "its teacher. That is no fault; it is shown beside the score."
        )
        return AuditResult(self.name, AuditVerdict.LABELLED, TEACHER_INDEPENDENT, reason, evidence)


def failed_run_result(audit: str, rule: str, what: str) -> AuditResult:
    """Return the finding for a method that gave no score on permuted labels.

    The method did run on the teacher's own labels.
    """
    reason = f"The method gave no score with {what}, though it ran with the teacher's own: a person should check why."
    return AuditResult(audit, AuditVerdict.FLAGGED, rule, reason)


def _surely_lost(low: float, before: float) -> float:
    """Return the share of a score that permuting surely takes away.

    It is all of a score that was not positive.
    """
    return low / before if before > 0 else 1.0


def _share(before: float, after: float) -> float | None:
    """Return the remaining share of a positive score; above 1 if it rose.

    Never below 0; None if there was nothing to lose.
    """
    return max(0.0, after) / before if before > 0 else None
