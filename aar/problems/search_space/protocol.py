"""The optional search space protocol, for offline researchers without a model.

A *genome* is a flat mapping of named genes to plain values; a *search space* has a problem's genes, the odds that a
direction's words give them, and the rendering of a genome as a method that people can read. The rendered ``run.py``
carries its genome as a literal, so that other researchers who fetch the method can continue with it. A problem offers
one by a method ``repertoire()``, which
is optional: without it a problem is complete for language models.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Protocol, runtime_checkable

Genome = Mapping[str, str | int | float | bool]
"""Gene to value. Two genomes are the same method when they are equal."""


class SearchSpace(Protocol):
    """The components of one problem's methods.

    Every draw comes from the given ``rng``, so that a search repeats.
    """

    def sample(self, rng: Random, direction: str) -> Genome:
        """Return a new genome, biased by the words of ``direction`` (empty: none)."""
        ...

    def mutate(self, rng: Random, genome: Genome, direction: str) -> Genome:
        """Return a genome that differs from ``genome`` in a gene or a few."""
        ...

    def cross(self, rng: Random, first: Genome, second: Genome) -> Genome:
        """Return a genome whose every gene comes from one of the two."""
        ...

    def simplify(self, genome: Genome) -> Genome:
        """Return a cheaper, safer relative of a genome whose method failed.

        Returns the same genome when none is simpler.
        """
        ...

    def distance(self, first: Genome, second: Genome) -> float:
        """Return the distance of two methods.

        0 for the same, about 1 for each differing gene that is active in either.
        """
        ...

    def render(self, genome: Genome, *, parent: str | None) -> dict[str, str]:
        """Return the method's files by name, ``run.py`` and ``method.yaml`` among them.

        Args:
            genome: the genome to render.
            parent: the submission it builds on (``s3``), named in ``method.yaml``.
        """
        ...

    def parse(self, source: str) -> Genome | None:
        """Return the genome in a rendered ``run.py`` or a part of it.

        None when it has no valid genome.
        """
        ...

    def describe(self, genome: Genome) -> str:
        """Return the method in one sentence."""
        ...

    def trial(self, directory: str, research_data: str) -> str:
        """Return a shell command that tries the method in ``directory`` on research data.

        It prints figures that need no labels, and exits with 0 when the method works.
        """
        ...


@runtime_checkable
class SearchableProblem(Protocol):
    """A problem that offline researchers can work on."""

    def repertoire(self) -> SearchSpace:
        """Return the problem's search space."""
        ...
