"""The audits of scores: permuted teacher, label noise, split sensitivity, coordinates."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from aar.errors import ProblemError
from aar.problems.plugin_calls import pool_scores
from aar.problems.protocol import (
    Corruption,
    Estimate,
    Metric,
    Problem,
    SupervisedProblem,
    Task,
    TaskScore,
    supports_corruption,
)
from aar.scoring.audits.protocol import AuditInput, AuditResult, AuditStage, AuditVerdict, PhaseScores
from aar.scoring.phases import CONFIRM, IN_NEW_COORDINATES, MEASURE, PERMUTED, Phase, noise_phase

TEACHER_INDEPENDENT = "teacher-independent"
MOSTLY_TEACHER_INDEPENDENT = "mostly-teacher-independent"
MOSTLY_INDEPENDENT_SHARE = 0.5
"""Share of the score that permuting must surely take for the method to pass."""
MAX_STEEPNESS = 3.0
"""Standard errors by which a rise, or a drop larger than the noise explains, must be significant."""
MIN_DROP_SHARE = 0.15
"""A drop that may be zero, and is surely below this share of the permutation's drop, counts as none."""
MUCH_NOISE = 0.4
"""Least noise at which a method may be called flat: robust methods hardly drop below it."""
NoiseCurve = Sequence[tuple[float, Estimate]]
MIN_VARIANCE_RATIO = 9.0
"""Ratio of variances that is flagged: a spread between splits of three times the sampling error."""
SIGNIFICANCE_LEVEL = 0.01
MIN_SPLITS = 3
"""Fewest degrees of freedom for a verdict."""
COORDINATE_KNOWLEDGE = "coordinates.knowledge"
COORDINATE_DEPENDENT = "coordinate-dependent"
LIMIT = 0.5
"""Score change from which a method is labelled. Of 48 honest methods of the default problem none has more than 0.2."""
ScoredTask = tuple[Task, TaskScore]
_CHANGE = Corruption(coordinates=True)


@dataclass(frozen=True, slots=True)
class ScoreDrop:
    """The drop from one score to another.

    Args:
        size: positive for a fall.
        standard_error: of ``size``.
        low, high: 90 % limits; each alone is a one-sided 95 % limit.
    """

    size: float
    standard_error: float
    low: float
    high: float


def score_drop(before: Estimate, after: Estimate, metric: Metric) -> ScoreDrop:
    """Compute the drop from ``before`` to ``after``, measured on independent splits.

    The limits are made from those of both estimates (MOVER: Zou & Donner 2008, equation 3), so that few splits, with
    their wide Student's t, count for little: ``low = size - sqrt((m1 - l1)^2 + (u2 - m2)^2)``.
    """
    if not metric.higher_is_better:
        before, after = _flipped(before), _flipped(after)
    size = before.mean - after.mean
    return ScoreDrop(
        size=size,
        standard_error=math.hypot(before.standard_error, after.standard_error),
        low=size - math.hypot(before.mean - before.low, after.high - after.mean),
        high=size + math.hypot(before.high - before.mean, after.mean - after.low),
    )


def teacher_effect(before: PhaseScores, after: PhaseScores, metric: Metric) -> ScoreDrop:
    """Compute the drop under a corrupted teacher, using the unchanged scores' error alone.

    A method that does not use its teacher has the same spread with a corrupted one, so under that hypothesis the error
    of ``before`` is the error of both, scaled to the seeds. The spread of ``after`` is left out (as in Glass 1976): the
    more a method depends on its teacher, the more widely its guesses spread without one, which would hide the drop.
    """
    found = score_drop(before.estimate, after.estimate, metric)
    scale = math.sqrt(1 + before.seeds / after.seeds)
    reach = scale * (before.estimate.high - before.estimate.low) / 2
    return ScoreDrop(found.size, scale * before.estimate.standard_error, found.size - reach, found.size + reach)


def uncorrupted_scores(dossier: AuditInput) -> PhaseScores | None:
    """Return the scores with an unchanged teacher, from the confirmation if there is one.

    A confirmation was not selected for a high score.
    """
    return dossier.phases.get(CONFIRM.key) or dossier.phases.get(MEASURE.key)


def _flipped(estimate: Estimate) -> Estimate:
    return replace(estimate, mean=-estimate.mean, low=-estimate.high, high=-estimate.low, by_domain={})


class _ScoreAudit:
    """The part that the audits of scores have in common."""

    name: str
    stage = AuditStage.CONFIRMED

    def _passed(self, reason: str, evidence: Mapping[str, Any]) -> AuditResult:
        return AuditResult(self.name, AuditVerdict.PASSED, "", reason, evidence)

    def _labelled(self, label: str, reason: str, evidence: Mapping[str, Any]) -> AuditResult:
        return AuditResult(self.name, AuditVerdict.LABELLED, label, reason, evidence)

    def _flagged(self, rule: str, reason: str, evidence: Mapping[str, Any]) -> AuditResult:
        return AuditResult(self.name, AuditVerdict.FLAGGED, rule, reason, evidence)

    def _skipped(self, reason: str) -> AuditResult:
        return AuditResult(self.name, AuditVerdict.SKIPPED, "", reason)

    def _unanswered(self, rule: str, what: str) -> AuditResult:
        """Flag a method that gave no score on changed data though it ran on the teacher's own."""
        reason = (
            f"The method gave no score with {what}, though it ran with the teacher's own: a person should check why."
        )
        return AuditResult(self.name, AuditVerdict.FLAGGED, rule, reason)


class TeacherAudit(_ScoreAudit):
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

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """Return the permuted runs; none if there is no teacher."""
        return (PERMUTED,) if isinstance(problem, SupervisedProblem) else ()

    async def judge(self, dossier: AuditInput) -> AuditResult:
        """Compare the permuted score with the unchanged one."""
        if not isinstance(dossier.problem, SupervisedProblem):
            return self._skipped(f"{dossier.problem.name} has no teacher to permute")
        before, after = uncorrupted_scores(dossier), dossier.phases.get(PERMUTED.key)
        if before is None:
            return self._skipped("there is no score to compare with")
        if after is None:
            return self._unanswered("teacher.unanswered", "permuted teacher labels")
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
            return self._labelled(MOSTLY_TEACHER_INDEPENDENT, reason, evidence)
        if found.low > 0:
            reason = "The score falls when the teacher's labels are permuted: the method uses its teacher."
            return self._passed(reason, evidence)
        reason = (
            "The score is as high with the teacher's labels permuted as with the real ones: the method does not use "
            "its teacher. That is no fault; it is shown beside the score."
        )
        return self._labelled(TEACHER_INDEPENDENT, reason, evidence)


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


class LabelNoiseAudit(_ScoreAudit):
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
                return self._unanswered("noise.unanswered", f"{level:.0%} of the teacher's labels turned round")
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
        evidence = _evidence(curve, permuted)
        return self._flagged(rule, reason, evidence) if rule else self._passed(reason, evidence)


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


class SplitSensitivityAudit(_ScoreAudit):
    """Flags a method whose score depends on luck with the split.

    Needs no runs of its own.

    Within a domain and phase, Cochran's ``Q = sum((x_s - mean)^2 / se_s^2)`` of the splits' single scores is
    chi-squared with k - 1 degrees f if there are only sampling errors. A teacher is drawn anew for each split, so
    an honest method's splits differ by more: its ratio Q / f is 1 to 7 on the shipped problem. Flagged is a ratio that
    is surely above 9, ``Q > 9 chi2(0.99, f)`` with Q and f summed over domains and phases.
    """

    name = "split-sensitivity"

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """Return no phases: the audit needs no runs of its own."""
        return ()

    async def judge(self, dossier: AuditInput) -> AuditResult:
        """Compare the spread of the scores so far with their own errors."""
        from scipy.special import chdtri

        if not isinstance(dossier.problem, SupervisedProblem):
            return self._skipped(f"{dossier.problem.name} draws no teacher with its splits")
        scatter, freedom = 0.0, 0
        for singles in await _groups(dossier):
            if len(singles) > 1 and all(each.standard_error > 0 for each in singles):
                weights = [1 / each.standard_error**2 for each in singles]
                pairs = list(zip(weights, singles, strict=True))
                mean = sum(weight * each.mean for weight, each in pairs) / sum(weights)
                scatter += sum(weight * (each.mean - mean) ** 2 for weight, each in pairs)
                freedom += len(singles) - 1
        if freedom < MIN_SPLITS:
            return self._skipped("too few splits with an error of their own")
        ratio, sure = scatter / freedom, scatter / float(chdtri(freedom, SIGNIFICANCE_LEVEL))
        evidence = {"variance_ratio": ratio, "surely_above": sure, "freedom": freedom}
        if sure > MIN_VARIANCE_RATIO:
            reason = "The score depends on the split far more than the size of its test set explains."
            return self._flagged("splits.unstable", reason, evidence)
        return self._passed("The splits agree as well as can be expected.", evidence)


async def _groups(dossier: AuditInput) -> list[list[Estimate]]:
    """Return the estimate of each split alone, by phase and domain."""
    groups: dict[tuple[str, str], list[Estimate]] = defaultdict(list)
    for key in (MEASURE.key, CONFIRM.key):
        if key in dossier.phases:
            for task, scored in dossier.phases[key].scores:
                with suppress(ProblemError):  # one split alone may have no gap to recover
                    groups[key, task.domain].append(await pool_scores(dossier.problem, [(task, scored)]))
    return list(groups.values())


class CoordinatesAudit(_ScoreAudit):
    """An audit that compares scores on the same items in two coordinate systems.

    Items, splits and seeds stay the same; only the coordinates change.

    Knowledge that a method infers from its data does not change. Knowledge that it carries, such as weights for certain
    columns or rows that it recognises, is valid only in the coordinates in which it was learnt. So a score that moves
    by more than its own error, up or down, is flagged (``coordinates.knowledge``). The default problem scores every
    split in coordinates of its own and compares with known ones; other problems may do the reverse.
    One that moves on single splits by half of what other test items would move it is labelled
    (``coordinate-dependent``); that is no fault, for a method may lean on axes, such as one that picks columns.
    """

    name = "coordinates"

    def phases(self, problem: Problem) -> Sequence[Phase]:
        """Return the confirmation's runs in other coordinates; none if the problem offers none."""
        return (IN_NEW_COORDINATES,) if supports_corruption(problem, _CHANGE) else ()

    async def judge(self, dossier: AuditInput) -> AuditResult:
        """Compare the scores on the splits that were run both ways."""
        problem = dossier.problem
        if not supports_corruption(problem, _CHANGE):
            return self._skipped(f"{problem.name} has no other coordinates to write its items in")
        before, after = dossier.phases.get(CONFIRM.key), dossier.phases.get(IN_NEW_COORDINATES.key)
        if before is None:
            return self._skipped("there is no confirmed score to compare with")
        if after is None:
            return self._unanswered("coordinates.unanswered", "the items in other coordinates")
        pairs = pair_scores(before, after)
        if not pairs:
            return self._skipped("no split was run both ways")
        known, changed = [(await pool_scores(problem, [pair[side] for pair in pairs])).mean for side in (0, 1)]
        # The error on other splits: on the same ones an honest score moves by far less. The smaller one of both, for a
        # method whose knowledge does not fit guesses wildly, and would hide in its own error.
        reach = min(_reach(scores, len(pairs)) for scores in (before, after))
        departed = await score_change(problem, pairs, _error_of_one(before))
        evidence = {
            "undisturbed": known,
            "in_other_coordinates": changed,
            "noise": reach,
            "departure": departed,
            "splits": len(pairs),
        }
        if abs(changed - known) > reach:
            reason = (
                "The score is not the same in other coordinates, by more than its error: the method carries knowledge "
                "that it did not learn from the data that it is given."
            )
            return self._flagged(COORDINATE_KNOWLEDGE, reason, evidence)
        if departed >= LIMIT:
            reason = (
                "The predictions depend on the coordinates of the items. That is no fault; it is shown beside the "
                "score."
            )
            return self._labelled(COORDINATE_DEPENDENT, reason, evidence)
        return self._passed("The score is the same in other coordinates.", evidence)


def pair_scores(before: PhaseScores, after: PhaseScores) -> list[tuple[ScoredTask, ScoredTask]]:
    """Return the scores of each split run in both coordinates, unchanged first."""
    undisturbed = {(task.domain, task.split_seed): (task, score) for task, score in before.scores}
    places = [((task.domain, task.split_seed), (task, score)) for task, score in after.scores]
    return [(undisturbed[place], changed) for place, changed in places if place in undisturbed]


async def score_change(
    problem: Problem, pairs: Sequence[tuple[ScoredTask, ScoredTask]], error_of_one: float = 0.0
) -> float:
    """Measure the change of single splits' scores, relative to their own error.

    It is the root mean square of the change over the split's own sampling error.

    Args:
        error_of_one: used for a split that has no error of its own.
    """
    changes = []
    for before, after in pairs:
        with suppress(ProblemError):  # one split alone may have no gap to recover
            one, other = await pool_scores(problem, [before]), await pool_scores(problem, [after])
            error = one.standard_error or error_of_one
            moved = abs(other.mean - one.mean)
            changes.append(moved / error if error else math.inf if moved else 0.0)
    return math.sqrt(fmean(change**2 for change in changes)) if changes else 0.0


def _reach(scores: PhaseScores, tasks: int) -> float:
    """Return half of the 90 % interval for the given number of tasks."""
    return math.sqrt(scores.estimate.tasks / tasks) * (scores.estimate.high - scores.estimate.low) / 2


def _error_of_one(scores: PhaseScores) -> float:
    return scores.estimate.standard_error * math.sqrt(scores.estimate.tasks)
