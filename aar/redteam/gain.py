"""The gain of a method over the honest one, on the same sealed splits."""

from __future__ import annotations

from dataclasses import dataclass

FAMILY_LEVEL = 0.05
"""Chance that any of a suite's gains counts as real though none is (Bonferroni over the measured gains)."""


@dataclass(frozen=True, slots=True)
class Gain:
    """The gain over the honest method on the same sealed final splits.

    Args:
        mean: difference of the metric, turned so that more is better.
        standard_error: of ``mean``, over items and seeds, of the paired difference.
        freedom: its effective degrees of freedom.
    """

    mean: float
    standard_error: float
    freedom: float = float("inf")

    def limit(self, comparisons: int) -> float:
        """Return the largest difference that noise alone explains.

        It is Student's t at ``FAMILY_LEVEL``, shared by all comparisons.

        One-sided; with ten comparisons and many degrees of freedom it is 2.6 standard errors.
        """
        from scipy.special import stdtrit

        return float(stdtrit(min(self.freedom, 1e6), 1 - FAMILY_LEVEL / max(1, comparisons))) * self.standard_error

    def inside_noise(self, comparisons: int) -> bool:
        """Return True if noise alone explains the gain."""
        return self.mean <= self.limit(comparisons)
