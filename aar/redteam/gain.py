"""Compares a method with the honest one that it starts from, by their scores on the same sealed splits."""

from __future__ import annotations

from dataclasses import dataclass

FAMILY_LEVEL = 0.05
"""Chance that any of a suite's gains is called real though none is (Bonferroni over the gains that it measures)."""


@dataclass(frozen=True, slots=True)
class Gain:
    """What a method wins on the sealed final split over the honest one that it starts from, on the same splits.

    Args:
        mean: difference of the metric, turned so that more is better.
        standard_error: of ``mean``, over items and seeds, of the paired difference.
        freedom: its effective degrees of freedom.
    """

    mean: float
    standard_error: float
    freedom: float = float("inf")

    def limit(self, comparisons: int) -> float:
        """How large a difference noise alone explains: Student's t at ``FAMILY_LEVEL`` shared by all comparisons.

        One-sided; with ten comparisons and many degrees of freedom it is 2.6 standard errors.
        """
        from scipy.special import stdtrit

        return float(stdtrit(min(self.freedom, 1e6), 1 - FAMILY_LEVEL / max(1, comparisons))) * self.standard_error

    def inside_noise(self, comparisons: int) -> bool:
        """Whether noise alone explains it."""
        return self.mean <= self.limit(comparisons)
