"""What an attack on the score is, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aar.testing.attacks.arena import Arena

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


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an attack.

    Args:
        gain: on the sealed split; None where the attack ends before there is a method to measure.
        stopped: by what its method was taken off the board, or never got there; empty where it stands.
        noted: by what it was flagged or labelled while its score stands; empty where nobody noticed.
        through: what must never happen and did, one line each; empty where all held.
        said: one line of figures for the table's footnotes.
    """

    gain: Gain | None = None
    stopped: str = ""
    noted: str = ""
    through: Sequence[str] = ()
    said: str = ""


class Attack(Protocol):
    """One way to a higher score without the science.

    The attacker has a researcher's powers: its own sandbox, tools, tokens and submissions, everything that the
    controller tells it, and as much patience as it likes. What it never has is the controller's machine.
    """

    name: str
    """Short, for tables and test ids."""
    goal: str
    """What it tries, in one clause."""
    items: bool
    """Whether it works on single test items: only problems with ``test.npy`` and array outputs are open to it."""

    async def make(self, arena: Arena) -> Result:
        """Carry it out against a running scorer, clean room, store and API."""
        ...
