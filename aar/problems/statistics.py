"""Estimates from independent sources of error, for any problem's ``pool``: Student's t, Welch-Satterthwaite degrees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from aar.errors import ProblemError
from aar.problems.protocol import Estimate

COVERAGE = 0.90
"""Of the interval of an estimate."""


@dataclass(frozen=True, slots=True)
class Term:
    """One independent source of error: its part of the variance of a mean, and its degrees of freedom."""

    variance: float
    freedom: float

    def scaled(self, factor: float) -> Term:
        """The term when the mean that it belongs to is multiplied by ``factor``."""
        return Term(self.variance * factor**2, self.freedom)


def estimate(
    mean: float, terms: Sequence[Term], tasks: int, by_domain: Mapping[str, Estimate] | None = None
) -> Estimate:
    """``mean`` with its standard error, degrees of freedom and 90 % interval.

    The error is the root of the summed variances; the interval uses Student's t at the effective degrees of freedom
    ``(sum v)^2 / sum(v^2 / f)`` (Satterthwaite 1946; Welch 1947).

    Args:
        mean: the score.
        terms: its independent sources of error.
        tasks: number of task scores behind it.
        by_domain: the same per domain.
    """
    from scipy.special import stdtrit

    total = math.fsum(term.variance for term in terms)
    error = math.sqrt(total)
    # Shares, not variances, are squared: the square of a tiny variance would underflow.
    spread = math.fsum((term.variance / total) ** 2 / term.freedom for term in terms) if total > 0 else 1.0
    freedom = 1 / spread
    reach = float(stdtrit(freedom, 0.5 + COVERAGE / 2)) * error
    return Estimate(mean, error, mean - reach, mean + reach, tasks, by_domain or {}, freedom)


def pool_means(by_domain: Mapping[str, Sequence[float]]) -> Estimate:
    """The mean over domains of each domain's mean over tasks; its error is the spread between tasks.

    With one task in a domain that domain adds no error, so that the error is too small: draw two or more.

    Raises:
        ProblemError: there is nothing to pool.
    """
    if not by_domain or not all(by_domain.values()):
        raise ProblemError("there is no task score to pool")
    terms = {
        domain: [Term(variance(values) / len(values), len(values) - 1)] if len(values) > 1 else []
        for domain, values in by_domain.items()
    }
    parts = {domain: estimate(fmean(values), terms[domain], len(values)) for domain, values in by_domain.items()}
    everything = [term.scaled(1 / len(parts)) for of_domain in terms.values() for term in of_domain]
    return estimate(fmean(part.mean for part in parts.values()), everything, sum(map(len, by_domain.values())), parts)
