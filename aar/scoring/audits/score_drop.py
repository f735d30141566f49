"""How far a score falls from one phase to another, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from aar.problems.protocol import Estimate, Metric
from aar.scoring.audits.protocol import AuditInput, PhaseScores
from aar.scoring.phases import CONFIRM, MEASURE


@dataclass(frozen=True, slots=True)
class ScoreDrop:
    """By how much one score is worse than another.

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
    """From ``before`` to ``after``, which were measured on splits of their own.

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
    """The fall that spoiling the teacher brings, judged by the undisturbed scores' error alone.

    A method that does not use its teacher has the same spread with a spoilt one, so under that hypothesis the error of
    ``before`` is the error of both, scaled to the seeds. The spread of ``after`` is left out (as in Glass 1976), since
    the more a method depends on its teacher the wilder it guesses without, which would hide the fall.
    """
    found = score_drop(before.estimate, after.estimate, metric)
    scale = math.sqrt(1 + before.seeds / after.seeds)
    reach = scale * (before.estimate.high - before.estimate.low) / 2
    return ScoreDrop(found.size, scale * before.estimate.standard_error, found.size - reach, found.size + reach)


def uncorrupted_scores(dossier: AuditInput) -> PhaseScores | None:
    """The scores with the teacher as it is: the confirmation's if there is one, for nobody picked it for being high."""
    return dossier.phases.get(CONFIRM.key) or dossier.phases.get(MEASURE.key)


def _flipped(estimate: Estimate) -> Estimate:
    return replace(estimate, mean=-estimate.mean, low=-estimate.high, high=-estimate.low, by_domain={})
