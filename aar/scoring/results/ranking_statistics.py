"""Statistics of ranked noisy scores: shrinkage, refutation of a winner, and leaderboard bands.

Higher is better throughout; a caller whose metric is climbed downward flips the signs. A score is (mean, standard
error). Formulas, sources and simulations are in docs/statistics.md.

The moderated t-statistic judges scores of few seeds by the campaign's usual error. A standard error from two seeds is
unreliable: it may be tiny by luck, and Student's t then requires very large falls. The errors of a campaign's other
methods show the usual size. Their variances are taken as drawn around a common one by a scaled inverse chi-squared law,
whose scale and degrees of freedom are estimated from the variances themselves (Smyth 2004, section 6.2); a score's own
variance is averaged with it by degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, median, median_low, variance
from typing import Any

from aar.problems.protocol import Estimate

Score = tuple[float, float]

REFUTATION_LEVEL = 0.05
"""Chance, over all confirmations of a campaign together, that an honest score is refuted."""
MIN_SCORES_TO_SHRINK = 3
"""Fewest scores for a spread: two hardly determine the spread of the true values around their mean."""
MAX_ERROR_RATIO = 2.0
"""Times the median: a larger standard error does not count in the step between bands."""
NEARLY_NORMAL = 1e6
"""Degrees of freedom from which Student's quantiles are the normal ones."""
MIN_CODES = 5
"""Fewest variances for an estimate of how much they differ."""
_NO_ERROR = 1e-12
_NEWTON_STEPS = 50


def shrink_scores(scores: Sequence[Score]) -> list[Score]:
    """Estimate each score's expected value when it is measured again.

    It does not matter which of them was picked for being best.

    The true values are taken as normal around a common mean, with a spread A estimated from the scores themselves
    (parametric empirical Bayes with known, unequal errors s: Efron & Morris 1975; sd: Morris 1983, section 5)::

        w = 1 / s^2,  m0 = sum(w x) / sum(w),  Q = sum(w (x - m0)^2)
        A = max(0, (Q - (k - 1)) / (sum(w) - sum(w^2) / sum(w)))        DerSimonian & Laird 1986
        W = 1 / (s^2 + A),  m = sum(W x) / sum(W)
        B = s^2 / (s^2 + A)                                             share of the way to m
        mean = x - B (x - m)
        sd^2 = s^2 (1 - (1 - W / sum(W)) B) + 2 / max(1, k - 3) * B^2 (V + A) / (s^2 + A) * (x - m)^2
        V = sum(W s^2) / sum(W)

    An expectation given the data does not depend on why a score was selected, so the winner needs no further
    correction (Efron 2011). The last term of sd^2 is for A itself being estimated. Morris's factor (k - 3) / (k - 1)
    on B is left out: it is for the mean squared error, and leaves the best of few a good part of its luck.

    Args:
        scores: (mean, standard error) of each; any order.

    Returns:
        (mean, sd) of each, in the same order; unchanged where there are one or two, or none has an error.
    """
    k = len(scores)
    largest = max((error for _, error in scores), default=0.0)
    if k < MIN_SCORES_TO_SHRINK or largest <= 0:
        return list(scores)
    # A score without any error would outweigh all others: it counts as a very good one.
    noises = [max(error, largest / 1000) ** 2 for _, error in scores]
    means = [mean for mean, _ in scores]
    weights = [1 / noise for noise in noises]
    total, fixed = math.fsum(weights), _mean(means, weights)
    scatter = math.fsum(weight * (mean - fixed) ** 2 for mean, weight in zip(means, weights, strict=True))
    spread = max(0.0, (scatter - (k - 1)) / (total - math.fsum(weight**2 for weight in weights) / total))

    weights = [1 / (noise + spread) for noise in noises]
    total, centre, typical = math.fsum(weights), _mean(means, weights), _mean(noises, weights)
    shrunk: list[Score] = []
    for (mean, error), weight in zip(scores, weights, strict=True):
        toward = error**2 * weight
        kept = error**2 * (1 - (1 - weight / total) * toward)
        unsure = 2 / max(1, k - 3) * toward**2 * (typical + spread) * weight * (mean - centre) ** 2
        shrunk.append((mean - toward * (mean - centre), math.sqrt(kept + unsure)))
    return shrunk


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return math.fsum(value * weight for value, weight in zip(values, weights, strict=True)) / math.fsum(weights)


def refutes(
    measured: ScoreSample, confirmed: ScoreSample, *, tries: int, checks: int, common: VariancePrior | None = None
) -> bool:
    """Return True if a confirmation contradicts the measured score.

    One-sided: only a drop refutes. ``measured`` is the score as the board shows it, *not* shrunken: that it was picked
    as the best of ``tries`` is paid for in the level. The winner's drop is at most the largest drop that any of the
    ``tries`` would have shown on fresh data, so a level of ``1 - (1 - 0.05)^(1 / (tries * checks))`` for one comparison
    (Šidák 1967) keeps the chance that any honest score of the campaign is refuted at 5 %, for any true values.
    The comparison is Welch's ``t = (measured - confirmed) / sqrt(v_m + v_c)`` with ``(v_m + v_c)^2 / (v_m^2 / f_m +
    v_c^2 / f_c)`` degrees of freedom.

    Args:
        measured: as the board shows it.
        confirmed: on fresh seeds and the sealed split alone.
        tries: how many different codes were measured when this one was picked; 1 if it was not picked for its score.
        checks: how many confirmations the campaign makes or has made, this one included.
        common: of the campaign's errors: moderates both variances. None takes each score's own error alone.

    Raises:
        ValueError: ``tries`` or ``checks`` is below 1.
    """
    if tries < 1 or checks < 1:
        raise ValueError(f"tries or checks too few: got {tries} and {checks}, expected at least 1 each")
    (before, free_before), (after, free_after) = (
        common.moderate(each) if common else (each.standard_error**2, each.freedom) for each in (measured, confirmed)
    )
    total = before + after
    freedom = math.inf
    if total > 0:
        # Shares, not variances, are squared: the square of a tiny variance would underflow.
        freedom = 1 / ((before / total) ** 2 / free_before + (after / total) ** 2 / free_after)
    return measured.mean - confirmed.mean > critical_value(tries * checks, freedom) * math.sqrt(total)


def critical_value(comparisons: int, freedom: float = math.inf, level: float = REFUTATION_LEVEL) -> float:
    """Return the significant t of one-sided comparisons at ``level`` for all together."""
    from scipy.special import stdtrit

    # expm1 and log1p: with thousands of comparisons, 1 - (1 - level)^(1/n) would lose its digits.
    alone = -math.expm1(math.log1p(-level) / comparisons)
    return -(NormalDist().inv_cdf(alone) if freedom > NEARLY_NORMAL else float(stdtrit(freedom, alone)))


def assign_bands(scores: Sequence[Score], expected: Sequence[float]) -> list[int]:
    """Assign a band to each row: rows of one band cannot be told apart.

    A new band begins where a row is below the first row of its band by more than the standard error of a difference.
    That is the ladder's rule (Blum & Hardt 2015, figure 1, with their step of a standard error): a place is gained by
    more than the noise or not at all, so that many submissions with small changes reveal nothing about the labels.

    The step is one for the whole board, of the root mean square of its usual errors: those up to ``MAX_ERROR_RATIO``
    times their median. A row with a larger one neither widens the step nor begins a band. It falls into the band that
    its *expected* score belongs to, so one noisy score changes no other row's band.

    Args:
        scores: (mean, standard error) of the rows, in any order.
        expected: their shrunken means.

    Returns:
        A number for each row, from 1.
    """
    # An error of zero is an accident of few seeds, not a noise level that others could have.
    errors = [error for _, error in scores if error > 0]
    most = MAX_ERROR_RATIO * median_low(errors) if errors else 0.0
    usual = [error for error in errors if error <= most]
    step = math.sqrt(2 * math.fsum(error**2 for error in usual) / len(usual)) if usual else 0.0
    steady = [place for place, (_, error) in enumerate(scores) if error <= most]
    found, heads = [0] * len(scores), list[float]()
    for place in sorted(steady, key=lambda place: -scores[place][0]):
        mean = scores[place][0]
        if not heads or heads[-1] - mean > step:
            heads.append(mean)
        found[place] = len(heads)
    for place, mean in enumerate(expected):
        if not found[place]:
            near = (band for band, head in enumerate(heads, start=1) if head - mean <= step)
            found[place] = next(near, len(heads))
    return found


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
