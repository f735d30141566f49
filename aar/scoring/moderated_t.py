"""The moderated t-statistic: judges scores of few seeds by the campaign's usual error.

A standard error from two seeds is unreliable: it may be tiny by luck, and Student's t then requires very large falls.
The errors of a campaign's other methods show the usual size. Their variances are taken as drawn around a common one by
a scaled inverse chi-squared law, whose scale and degrees of freedom are estimated from the variances themselves (Smyth
2004, section 6.2); a score's own variance is averaged with it by degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, variance
from typing import Any

from aar.problems.protocol import Estimate

MIN_CODES = 5
"""Fewest variances for an estimate of how much they differ."""
_NO_ERROR = 1e-12
_NEWTON_STEPS = 50


@dataclass(frozen=True, slots=True)
class ScoreSample:
    """A pooled score with its error.

    Args:
        mean: higher is better.
        freedom: Student's degrees of freedom of ``standard_error``.
        seeds: how many were pooled.
        most_freedom: ``freedom`` if its sources were of equal size: their sum over the domains.
    """

    mean: float
    standard_error: float
    freedom: float
    seeds: int = 1
    most_freedom: float = 0.0


@dataclass(frozen=True, slots=True)
class VariancePrior:
    """The common error of a campaign's scores.

    Args:
        variance: of the score of one seed.
        freedom: its weight in degrees of freedom, beside a score's own.
        seeds: the usual number of seeds of a score.
    """

    variance: float
    freedom: float
    seeds: float

    def moderate(self, sample: ScoreSample) -> tuple[float, float]:
        """Return the variance to judge a score by, and its degrees of freedom.

        The average by degrees of freedom, but never less than the score's own, so that a method whose scores are
        surely spread wider than those of others is judged by its own spread. More seeds than usual do not lower the
        common part: some sources of error, such as rows that all splits share, do not go away with seeds.
        """
        own = sample.standard_error**2
        usual = self.variance / max(1.0, min(float(sample.seeds), self.seeds))
        total = self.freedom + sample.freedom
        return max(own, (self.freedom * usual + sample.freedom * own) / total), total


def make_sample(
    mean: float,
    standard_error: float,
    freedom: float | None,
    seeds: int,
    by_domain: Mapping[str, Any],
    *,
    higher_is_better: bool = True,
) -> ScoreSample:
    """Build a sample from a stored score.

    Args:
        freedom: None if it was not stored, or if the problem does not give it: then the fewest that
            the seeds allow.
        by_domain: the stored estimates of the domains.
    """
    known = _known(freedom, seeds)
    parts = [_known(part.get("freedom"), seeds) for part in by_domain.values()]
    return ScoreSample(mean if higher_is_better else -mean, standard_error, known, seeds, max(known, math.fsum(parts)))


def sample_from_estimate(estimate: Estimate, seeds: int, *, higher_is_better: bool = True) -> ScoreSample:
    """Build a sample from a problem's pooled estimate and its number of seeds."""
    parts = {domain: {"freedom": part.freedom} for domain, part in estimate.by_domain.items()}
    mean, error = estimate.mean, estimate.standard_error
    return make_sample(mean, error, estimate.freedom, seeds, parts, higher_is_better=higher_is_better)


def fit_variance_prior(samples: Sequence[ScoreSample]) -> VariancePrior | None:
    """Estimate the common error of a campaign's different codes; None for too few.

    Scale and degrees of freedom are those that give ``log s^2`` the mean and the variance that it has (Smyth 2004)::

        e = log(s^2 k) - digamma(f / 2) + log(f / 2)
        trigamma(d / 2) = var(e) - mean(trigamma(F / 2))
        log s0^2 = mean(e) + digamma(d / 2) - log(d / 2)

    with k seeds, f degrees of freedom and F the most that these can be. F is at least f, which leaves more of the
    variance to real differences, and d is at most the sum of all f: both err towards a smaller d.
    """
    from scipy.special import digamma, polygamma

    # An error of zero is no information about the noise of others.
    known = [each for each in samples if each.standard_error > _NO_ERROR]
    if len(known) < MIN_CODES:
        return None
    logs = [
        math.log(each.standard_error**2 * max(1, each.seeds))
        - float(digamma(each.freedom / 2))
        + math.log(each.freedom / 2)
        for each in known
    ]
    by_chance = fmean(float(polygamma(1, max(each.freedom, each.most_freedom) / 2)) for each in known)
    apart, most = variance(logs) - by_chance, math.fsum(each.freedom for each in known)
    freedom = min(most, 2 * _trigamma_inverse(apart)) if apart > 0 else most
    scale = math.exp(fmean(logs) + float(digamma(freedom / 2)) - math.log(freedom / 2))
    return VariancePrior(scale, freedom, median(each.seeds for each in known))


def _known(freedom: float | None, seeds: int) -> float:
    """Return the degrees of freedom of a score or domain part.

    If they are unknown, the fewest that its seeds allow.
    """
    # Welch's degrees are at least the smallest of their parts, and each domain has a seed less than its seeds.
    return freedom if freedom is not None and freedom > 0 else float(max(1, seeds - 1))


def _trigamma_inverse(value: float) -> float:
    """Invert trigamma at a value above 0.

    Newton's method on its reciprocal (Smyth 2004, appendix).
    """
    from scipy.special import polygamma

    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    found = 0.5 + 1 / value
    for _ in range(_NEWTON_STEPS):
        here = float(polygamma(1, found))
        step = here * (1 - here / value) / float(polygamma(2, found))
        found += step
        if abs(step) < 1e-8 * found:
            break
    return found
