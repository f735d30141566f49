from __future__ import annotations

from random import Random

import pytest

from aar.problems.search_space import Genome
from aar.problems.toy.search_space import ToySearchSpace
from aar.problems.weak_to_strong.search_space import WeakToStrongSearchSpace
from aar.researcher.offline.search import MeasuredMethod, propose_genome

REPERTOIRE = WeakToStrongSearchSpace()


def worth(genome: Genome) -> float:
    """A landscape with a few components that help; the best genome reaches 1."""
    return (
        0.3 * (genome["threshold"] == "pool median")
        + 0.3 * (genome["denoise"] == "channel")
        + 0.2 * (genome["l2"] in (0.003, 0.01))
        + 0.2 * (genome["weighting"] == "confidence")
    )


def search(seed: int, steps: int) -> list[MeasuredMethod]:
    known: list[MeasuredMethod] = []
    noise = Random(f"noise {seed}")
    for step in range(steps):
        tried = [method.genome for method in known]
        proposal = propose_genome(Random(f"{seed} {step}"), REPERTOIRE, "", known, tried)
        score = worth(proposal.genome) + noise.gauss(0, 0.03)
        known.append(MeasuredMethod(step + 1, proposal.genome, score, 0.03))
    return known


def test_the_same_draws_and_scores_give_the_same_proposal() -> None:
    known = search(1, 6)
    tried = [method.genome for method in known]
    first, second = (propose_genome(Random(7), REPERTOIRE, "noise", known, tried) for _ in range(2))
    assert first == second


def test_it_never_tries_again_what_was_tried() -> None:
    genomes = [method.genome for method in search(2, 20)]
    assert all(REPERTOIRE.distance(genome, other) > 0 for at, genome in enumerate(genomes) for other in genomes[:at])


def test_scores_guide_it() -> None:
    """Sixteen guided steps end above the best of sixteen blind draws, over seeds."""
    guided = [max(worth(method.genome) for method in search(seed, 16)) for seed in range(8)]
    blind = [max(worth(REPERTOIRE.sample(Random(f"blind {seed} {at}"), "")) for at in range(16)) for seed in range(8)]
    assert sum(guided) / 8 > sum(blind) / 8 + 0.1


def test_a_child_names_its_parent() -> None:
    known = search(3, 8)
    numbers = {method.number for method in known}
    proposals = [propose_genome(Random(at), REPERTOIRE, "", known, []) for at in range(20)]
    assert all(proposal.parent in numbers or proposal.origin.startswith("sampled") for proposal in proposals)
    assert any(proposal.origin.startswith("crossed") for proposal in proposals)


@pytest.mark.parametrize("error", [0.0, 0.5])
def test_equal_scores_are_no_obstacle(error: float) -> None:
    toy = ToySearchSpace()
    known = [MeasuredMethod(at, toy.sample(Random(at), ""), 0.5, error) for at in range(1, 4)]
    assert propose_genome(Random(1), toy, "", known, [method.genome for method in known]).genome
