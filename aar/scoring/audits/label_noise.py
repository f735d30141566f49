"""The label-noise audit: checks that a score falls smoothly with the teacher's label noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from aar.problems.protocol import Estimate, Metric, Problem, SupervisedProblem
from aar.scoring.audits.protocol import AuditInput, AuditResult, AuditStage, AuditVerdict, PhaseScores
from aar.scoring.audits.score_drop import score_drop, teacher_effect, uncorrupted_scores
from aar.scoring.audits.teacher_permutation import failed_run_result
from aar.scoring.phases import PERMUTED, Phase, noise_phase

MAX_STEEPNESS = 3.0
"""Standard errors by which a rise, or a drop larger than the noise explains, must be significant."""
MIN_DROP_SHARE = 0.15
"""A drop that may be zero, and is surely below this share of the permutation's drop, counts as none."""
MUCH_NOISE = 0.4
"""Least noise at which a method may be called flat: robust methods hardly drop below it."""

NoiseCurve = Sequence[tuple[float, Estimate]]


class LabelNoiseAudit:
    """Flags a score that does not follow its teacher's noise.

    With a share x of two classes' labels turned, 1 - 2x of their information is left. Honest methods lose more slowly
    than that at first, because many labels average out, and all of it at one half. Three things are odd: the score
    rises with the noise (``noise.rises``); the score drops faster than label information does, as for a method that
    detects corrupted labels (``noise.cliff``); it hardly falls although the method needs its teacher (``noise.flat``),
    as for a method that only pretends to depend on it.

    Args:
        levels: shares of labels turned, above 0 and at most one half.

    Raises:
        ValueError: a level outside of that.
    """

    name = "label-noise"
    stage = AuditStage.CONFIRMED

    def __init__(self, levels: Sequence[float]) -> None:
        if not all(0 < level <= 0.5 for level in levels):
            raise ValueError(f"noise levels invalid: got {list(levels)}, expected values above 0 and at most 0.5")
        self._levels = tuple(sorted(set(levels)))

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """Return one phase for each level; none if there is no teacher."""
        return tuple(map(noise_phase, self._levels)) if isinstance(problem, SupervisedProblem) else ()

    async def judge(self, dossier: AuditInput) -> AuditResult:
        """Check for a rise, a cliff, or no fall at all.

        The last two need the permuted scores as well.
        """
        if not isinstance(dossier.problem, SupervisedProblem):
            return self._skipped(f"{dossier.problem.name} has no teacher to disturb")
        clean = uncorrupted_scores(dossier)
        if clean is None or not self._levels:
            return self._skipped("there is no score to compare with" if self._levels else "no noise level is set")
        curve: list[tuple[float, Estimate]] = [(0.0, clean.estimate)]
        for level in self._levels:
            scored = dossier.phases.get(noise_phase(level).key)
            if scored is None:
                return failed_run_result(
                    self.name, "noise.unanswered", f"{level:.0%} of the teacher's labels turned round"
                )
            curve.append((level, scored.estimate))
        permuted, metric = dossier.phases.get(PERMUTED.key), dossier.problem.metric
        if _rises(curve, metric):
            rule, reason = "noise.rises", "The score is higher with more of the teacher's labels turned round."
        elif permuted is None:
            rule, reason = "", "The score does not rise with the noise; without permuted scores no more can be judged."
        elif teacher_effect(clean, permuted, metric).low <= 0:
            rule, reason = "", "The method does not use its teacher, so the noise need not show."
        else:
            rule, reason = _shape(curve, permuted.estimate, metric)
        verdict = AuditVerdict.FLAGGED if rule else AuditVerdict.PASSED
        return AuditResult(self.name, verdict, rule, reason, _evidence(curve, permuted))

    def _skipped(self, reason: str) -> AuditResult:
        return AuditResult(self.name, AuditVerdict.SKIPPED, "", reason)


def _rises(curve: NoiseCurve, metric: Metric) -> bool:
    """Return True if any level's score is surely better than a lower level's."""
    pairs = [(less, more) for place, (_, less) in enumerate(curve) for _, more in curve[place + 1 :]]
    falls = [score_drop(less, more, metric) for less, more in pairs]
    return any(each.high < 0 and -each.size > MAX_STEEPNESS * each.standard_error for each in falls)


def _shape(curve: NoiseCurve, bottom: Estimate, metric: Metric) -> tuple[str, str]:
    """Return the rule that the fall to the permuted score breaks, and the reason.

    The rule is empty if none is broken.
    """
    clean = curve[0][1]
    for level, estimate in curve[1:]:
        left = 1 - 2 * level
        expected = left * clean.mean + (1 - left) * bottom.mean
        below = expected - estimate.mean if metric.higher_is_better else estimate.mean - expected
        # The undisturbed error replaces the level's own: a score that collapses has a large error that would hide it.
        error = math.hypot(left * clean.standard_error, (1 - left) * bottom.standard_error, clean.standard_error)
        if below > MAX_STEEPNESS * error:
            return "noise.cliff", "The score drops faster than the teacher's labels lose information."
    down = score_drop(clean, curve[-1][1], metric)
    # Permuting may cost more than there is to gain, so a sure drop counts, even a small one.
    if (
        curve[-1][0] >= MUCH_NOISE
        and down.low <= 0
        and down.high < MIN_DROP_SHARE * score_drop(clean, bottom, metric).size
    ):
        return "noise.flat", "The score hardly falls with noisy labels, yet it is gone when they are permuted."
    return "", "The score falls smoothly as more of the teacher's labels are turned round."


def _evidence(curve: NoiseCurve, permuted: PhaseScores | None) -> dict[str, Any]:
    levels = [{"noise": level, "mean": each.mean, "standard_error": each.standard_error} for level, each in curve]
    return {"curve": levels, "permuted": permuted.estimate.mean if permuted else None}
