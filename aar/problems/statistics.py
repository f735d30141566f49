"""Estimates from independent sources of error: Student's t, Welch-Satterthwaite degrees of freedom.

For any problem's ``pool``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import SupportsFloat

from aar.errors import ProblemError
from aar.problems.protocol import Estimate

COVERAGE = 0.90
"""Confidence level of an estimate's interval."""
_REMEDY = "Fix the problem's `pool` (docs/problems.md)"


@dataclass(frozen=True, slots=True)
class VarianceTerm:
    """One independent source of error.

    Its part of the variance of a mean, and its degrees of freedom.
    """

    variance: float
    freedom: float

    def scaled(self, factor: float) -> VarianceTerm:
        """Return the term for a mean multiplied by ``factor``."""
        return VarianceTerm(self.variance * factor**2, self.freedom)


def make_estimate(
    mean: float, terms: Sequence[VarianceTerm], tasks: int, by_domain: Mapping[str, Estimate] | None = None
) -> Estimate:
    """Return ``mean`` with its standard error, degrees of freedom and 90 % interval.

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


def check_estimate(found: Estimate, of: str = "") -> Estimate:
    """Return an estimate if it is valid.

    Raises:
        ProblemError: a number of it, or of one of its domains, is not finite, or its error is below zero.
    """
    where = f" of {of}" if of else ""
    for name in ("mean", "standard_error", "low", "high", "freedom"):
        value = getattr(found, name)
        if not (value is None and name == "freedom") and not is_finite(value):
            raise ProblemError(f"pooled {name}{where} is not a number: got {value!r}, expected a finite one", _REMEDY)
    if found.standard_error < 0 or (found.freedom is not None and found.freedom <= 0):
        worst = ("standard_error", found.standard_error) if found.standard_error < 0 else ("freedom", found.freedom)
        raise ProblemError(f"pooled {worst[0]}{where} is too small: got {worst[1]}, expected one above zero", _REMEDY)
    for domain, part in found.by_domain.items():
        check_estimate(part, domain)
    return found


def is_finite(value: object) -> bool:
    """Return True if it is a finite number that fits into a float."""
    try:
        return isinstance(value, SupportsFloat) and math.isfinite(value)
    except (OverflowError, TypeError, ValueError):
        return False


def pool_means(by_domain: Mapping[str, Sequence[float]]) -> Estimate:
    """Return the mean over domains of each domain's mean over tasks.

    Its error is the spread between tasks.

    With one task in a domain that domain adds no error, so that the error is too small: draw two or more.

    Raises:
        ProblemError: there is nothing to pool.
    """
    if not by_domain or not all(by_domain.values()):
        raise ProblemError("there is no task score to pool")
    terms = {
        domain: [VarianceTerm(variance(values) / len(values), len(values) - 1)] if len(values) > 1 else []
        for domain, values in by_domain.items()
    }
    parts = {domain: make_estimate(fmean(values), terms[domain], len(values)) for domain, values in by_domain.items()}
    everything = [term.scaled(1 / len(parts)) for of_domain in terms.values() for term in of_domain]
    return make_estimate(
        fmean(part.mean for part in parts.values()), everything, sum(map(len, by_domain.values())), parts
    )
