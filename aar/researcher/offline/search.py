"""Evolutionary search: proposes the next genome, ranked by a Gaussian process.

Parents are measured methods, own and others'; better ones are more likely. Offspring come from mutation, crossover and
sometimes afresh from the direction. A Gaussian process over genomes predicts the score of each. The offspring with the
highest mean + daring * deviation is tried, with a newly drawn daring each time, so that researchers with the same board
do not all try the same thing. The kernel has a part that is linear in the genes that two methods share, which credits
single components across otherwise different methods, and a part that falls off with distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from aar.errors import NotFound
from aar.problems.registry import find_problem
from aar.problems.search_space import Genome, SearchableProblem, SearchSpace

OFFSPRING = 80
FRESH_SHARE = 0.2
CROSS_SHARE = 0.4
SHARED_SHARE = 0.9
"""Share of the kernel's variance that is linear in shared genes."""
AMPLITUDE = 1.5
"""Prior deviation of a score over that of the scores seen: bred genomes are closer together than all possible ones."""
LEAST_SPREAD = 0.05
NEAR_DISTANCE = 2.0
"""Distance, in genes, over which the other part falls to 1/e."""
MEAN_EXPLORATION = 0.5
JITTER = 0.2
"""Spread of the term added to the daring of each offspring; it prevents that two researchers submit the same code."""
PARENT_SPREAD = 0.04
"""Difference in score that makes a parent e times as likely."""


@dataclass(frozen=True, slots=True)
class MeasuredMethod:
    """A method with a known score: submission number, genome, mean score and standard error."""

    number: int
    genome: Genome
    mean: float
    error: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """A genome to try, the submission it comes from (None: fresh), and its origin."""

    genome: Genome
    parent: int | None
    origin: str


def propose_genome(
    rng: Random, repertoire: SearchSpace, direction: str, measured: Sequence[MeasuredMethod], tried: Sequence[Genome]
) -> Proposal:
    """Propose the next genome to try.

    Args:
        rng: source of every draw.
        repertoire: the problem's components.
        direction: words that shift the probabilities.
        measured: methods with scores; higher is better (the caller negates a metric where lower is better).
        tried: genomes not to try again, measured or failed.
    """
    if not measured:
        return Proposal(repertoire.sample(rng, direction), None, "sampled from the direction")
    offspring = [
        child
        for child in (_breed(rng, repertoire, direction, measured) for _ in range(OFFSPRING))
        if all(repertoire.distance(child.genome, known) > 0 for known in tried)
    ]
    if not offspring:
        return Proposal(repertoire.sample(rng, direction), None, "sampled from the direction")
    predictions = _predict(repertoire, measured, [child.genome for child in offspring])
    daring = rng.expovariate(1 / MEAN_EXPLORATION)
    hopes = [mean + (daring + rng.gauss(0, JITTER)) * deviation for mean, deviation in predictions]
    return offspring[hopes.index(max(hopes))]


def _breed(rng: Random, repertoire: SearchSpace, direction: str, measured: Sequence[MeasuredMethod]) -> Proposal:
    if rng.random() < FRESH_SHARE:
        return Proposal(repertoire.sample(rng, direction), None, "sampled from the direction")
    first = _pick(rng, measured)
    if len(measured) > 1 and rng.random() < CROSS_SHARE:
        second = _pick(rng, [method for method in measured if method is not first])
        child = repertoire.cross(rng, first.genome, second.genome)
        if rng.random() < 0.5:
            child = repertoire.mutate(rng, child, direction)
        return Proposal(child, first.number, f"crossed s{first.number} with s{second.number}")
    return Proposal(repertoire.mutate(rng, first.genome, direction), first.number, f"mutated s{first.number}")


def _pick(rng: Random, measured: Sequence[MeasuredMethod]) -> MeasuredMethod:
    import math

    top = max(method.mean for method in measured)
    return rng.choices(measured, [math.exp((method.mean - top) / PARENT_SPREAD) for method in measured])[0]


def _predict(
    repertoire: SearchSpace, measured: Sequence[MeasuredMethod], genomes: Sequence[Genome]
) -> list[tuple[float, float]]:
    """Return the posterior mean and standard deviation per genome (Rasmussen & Williams 2006, eq.

    2.25, 2.26).
    """
    import numpy as np

    scores = np.array([method.mean for method in measured])
    centre = float(np.median(scores))
    spread = AMPLITUDE * max(float(scores.std()), LEAST_SPREAD)

    def kernel(rows: Sequence[Genome], columns: Sequence[Genome]) -> np.typing.NDArray[np.float64]:
        distances = np.array([[repertoire.distance(row, column) for column in columns] for row in rows])
        shared = 1 - distances / len(rows[0])
        return spread**2 * (SHARED_SHARE * shared + (1 - SHARED_SHARE) * np.exp(-distances / NEAR_DISTANCE))

    known = [method.genome for method in measured]
    noise = np.diag([method.error**2 + (0.1 * spread) ** 2 for method in measured])
    across = kernel(genomes, known)
    weights = np.linalg.solve(kernel(known, known) + noise, np.column_stack([scores - centre, across.T]))
    means = centre + across @ weights[:, 0]
    variances = spread**2 - np.einsum("ij,ji->i", across, weights[:, 1:])
    deviations = np.sqrt(np.maximum(variances, 1e-8))
    return [(float(mean), float(deviation)) for mean, deviation in zip(means, deviations, strict=True)]


@dataclass(frozen=True, slots=True)
class SearchProblem:
    """A problem's components, and the direction of its metric.

    The direction is 1 if higher is better, and -1 if lower is.
    """

    repertoire: SearchSpace
    sign: int


@lru_cache(maxsize=16)
def find_search_problem(problem: str) -> SearchProblem | None:
    """Return the search problem registered as ``problem``; None without a repertoire or registration.

    Raises:
        ProblemError: the problem cannot be loaded.
    """
    try:
        found = find_problem(problem)
    except NotFound:
        return None
    if not isinstance(found, SearchableProblem):
        return None
    return SearchProblem(found.repertoire(), 1 if found.metric.higher_is_better else -1)
