"""The optional search space protocol, for offline researchers without a model.

A *genome* is a flat mapping of named genes to plain values; a *search space* has a problem's genes, the odds that a
direction's words give them, and the rendering of a genome as a method that people can read. The rendered ``run.py``
carries its genome as a literal, so that other researchers who fetch the method can continue with it. A problem offers
one by a method ``repertoire()``, which
is optional: without it a problem is complete for language models.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


Value = str | int | float | bool

_LITERAL = re.compile(r"^GENOME = (\{[^{}]*\})", re.MULTILINE)
_MAX_LITERAL = 4000


@dataclass(frozen=True, slots=True)
class Gene:
    """One choice in a method.

    Args:
        name: as in the genome.
        values: possible values, with their odds in a new genome without a direction.
        ordered: True if neighbouring values are alike (a strength, a count), so that mutation prefers small steps.
        needs: the gene matters only where this gene of the genome ...
        needs_not: ... has none of these values.
    """

    name: str
    values: Mapping[Value, float]
    ordered: bool = False
    needs: str = ""
    needs_not: tuple[Value, ...] = ()

    def is_active(self, genome: Genome) -> bool:
        """Return True if the gene has an effect in ``genome``."""
        return not self.needs or genome[self.needs] not in self.needs_not

    def draw(self, rng: Random, odds: Mapping[Value, float]) -> Value:
        """Return a value by its odds times those of a direction."""
        choices = list(self.values)
        return rng.choices(choices, [self.values[value] * odds.get(value, 1.0) for value in choices])[0]

    def step(self, rng: Random, value: Value, odds: Mapping[Value, float]) -> Value:
        """Return another value: a neighbour where values are ordered, by its odds otherwise."""
        choices = list(self.values)
        if self.ordered:
            at = choices.index(value)
            near = [choices[i] for i in (at - 1, at + 1) if 0 <= i < len(choices)]
            return rng.choice(near) if near else value
        others = [choice for choice in choices if choice != value]
        return rng.choices(others, [max(self.values[v] * odds.get(v, 1.0), 1e-6) for v in others])[0]


@dataclass(frozen=True, slots=True)
class DirectionBias:
    """Odds that apply when a word of a direction begins with one of ``words``."""

    words: tuple[str, ...]
    odds: Mapping[str, Mapping[Value, float]]

    def matches(self, direction: str) -> bool:
        """Return True if the direction contains a matching word."""
        return any(re.search(rf"\b{re.escape(word)}", direction, re.IGNORECASE) for word in self.words)


class GeneSearchSpace:
    """The part of a ``SearchSpace`` that a table of genes settles: a subclass simplifies, describes and renders."""

    genes: Sequence[Gene]
    biases: Sequence[DirectionBias] = ()

    def _odds(self, direction: str) -> dict[str, dict[Value, float]]:
        """Return gene -> value -> odds for the words of ``direction``."""
        odds: dict[str, dict[Value, float]] = {gene.name: {} for gene in self.genes}
        for bias in self.biases:
            if bias.matches(direction):
                for name, factors in bias.odds.items():
                    for value, factor in factors.items():
                        odds[name][value] = odds[name].get(value, 1.0) * factor
        return odds

    def sample(self, rng: Random, direction: str) -> Genome:
        """Return a new genome, its genes weighted by the direction's words."""
        odds = self._odds(direction)
        return {gene.name: gene.draw(rng, odds[gene.name]) for gene in self.genes}

    def mutate(self, rng: Random, genome: Genome, direction: str) -> Genome:
        """Return a genome that differs in one active gene, sometimes in two or three."""
        odds = self._odds(direction)
        changed = dict(genome)
        touched: set[str] = set()
        for _ in range(rng.choices((1, 2, 3), (6, 3, 1))[0]):
            movable = [gene for gene in self.genes if gene.name not in touched and gene.is_active(changed)]
            if not movable:
                break
            gene = rng.choice(movable)
            changed[gene.name] = gene.step(rng, changed[gene.name], odds[gene.name])
            touched.add(gene.name)
        return changed

    def cross(self, rng: Random, first: Genome, second: Genome) -> Genome:
        """Cross two genomes uniformly: every gene comes from one or the other.

        A gene is inherited together with the gene that it needs.
        """
        sides: dict[str, Genome] = {}
        for gene in self.genes:
            sides[gene.name] = sides.get(gene.needs) or rng.choice((first, second))
        return {name: side[name] for name, side in sides.items()}

    def distance(self, first: Genome, second: Genome) -> float:
        """Count the differing genes that are active in either genome.

        A small step of an ordered gene counts for less.
        """
        total = 0.0
        for gene in self.genes:
            if first[gene.name] == second[gene.name] or not (gene.is_active(first) or gene.is_active(second)):
                continue
            if not gene.ordered:
                total += 1.0
                continue
            choices = list(gene.values)
            total += min(1.0, abs(choices.index(first[gene.name]) - choices.index(second[gene.name])) / 3)
        return total

    def parse(self, source: str) -> Genome | None:
        """Return the literal ``GENOME`` of a rendered program if all its genes are valid."""
        found = _LITERAL.search(source)
        if found is None or len(found.group(1)) > _MAX_LITERAL:
            return None
        try:
            genome = ast.literal_eval(found.group(1))
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return None
        return genome if self._is_valid(genome) else None

    def _is_valid(self, genome: object) -> bool:
        """Return True if ``genome`` has exactly these genes, each with a valid value.

        ``genome`` may be any value.
        """
        if not isinstance(genome, dict) or set(genome) != {gene.name for gene in self.genes}:
            return False
        return all(_is_one_of(genome[gene.name], gene.values) for gene in self.genes)


def _is_one_of(value: object, values: Iterable[Value]) -> bool:
    return any(type(value) is type(own) and value == own for own in values)
