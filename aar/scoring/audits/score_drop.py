"""Computes the drop of a score between two phases, with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from aar.problems.protocol import Estimate, Metric
from aar.scoring.audits.protocol import AuditInput, PhaseScores
from aar.scoring.phases import CONFIRM, MEASURE


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
