"""What a problem may add so that an offline researcher, a search program, can work on it.

A *genome* is a flat mapping of named genes to plain values; a *repertoire* knows a problem's genes, what a direction's
words make likely, and how a genome becomes a method that people can read. The rendered ``run.py`` carries its genome as
a literal, so that others who fetch the method can take it up. A problem offers one by a method ``repertoire()``, which
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
        """Return a new genome; the words of ``direction`` (empty: none) shift what is likely."""
        ...

    def mutate(self, rng: Random, genome: Genome, direction: str) -> Genome:
        """Return a genome that differs from ``genome`` in a gene or a few."""
        ...

    def cross(self, rng: Random, first: Genome, second: Genome) -> Genome:
        """Return a genome whose every gene comes from one of the two."""
        ...

    def simplify(self, genome: Genome) -> Genome:
        """Return a cheaper, safer relative of a genome whose method failed; the same genome when none is simpler."""
        ...

    def distance(self, first: Genome, second: Genome) -> float:
        """How unlike two methods are: 0 for the same, about 1 a gene that matters to both."""
        ...

    def render(self, genome: Genome, *, parent: str | None) -> dict[str, str]:
        """File name to text of the method, ``run.py`` and ``method.yaml`` among them.

        Args:
            genome: what to render.
            parent: the submission it builds on (``s3``), named in ``method.yaml``.
        """
        ...

    def parse(self, source: str) -> Genome | None:
        """Return the genome that a rendered ``run.py`` (or a part of it) carries; None when there is none that
        holds."""
        ...

    def describe(self, genome: Genome) -> str:
        """Return the method in one sentence."""
        ...

    def trial(self, directory: str, research_data: str) -> str:
        """Return a shell command that runs the method in ``directory`` on the research data and prints what can be
        seen without labels; it exits with 0 when the method works."""
        ...


@runtime_checkable
class SearchableProblem(Protocol):
    """A problem that offline researchers can work on."""

    def repertoire(self) -> SearchSpace:
        """Return the problem's components."""
        ...
