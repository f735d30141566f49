from __future__ import annotations

from random import Random

import pytest

from aar.problems.search_space import DirectionBias, Gene, GeneSearchSpace


class Space(GeneSearchSpace):
    genes = (
        Gene("method", {"plain": 1, "fancy": 1}),
        Gene("strength", {1: 1, 2: 1, 3: 1, 4: 1}, ordered=True, needs="method", needs_not=("plain",)),
    )
    biases = (DirectionBias(("fanc", "two words"), {"method": {"plain": 0.0}}),)


SPACE = Space()


def test_a_direction_weighs_what_is_drawn() -> None:
    assert {SPACE.sample(Random(seed), "")["method"] for seed in range(50)} == {"plain", "fancy"}
    for direction in ("Be FANCY.", "in two words"):
        assert {SPACE.sample(Random(seed), direction)["method"] for seed in range(50)} == {"fancy"}
    assert not DirectionBias(("fanc",), {}).matches("unfancied")


def test_ordered_genes_take_small_steps() -> None:
    gene = SPACE.genes[1]
    assert {gene.step(Random(seed), 2, {}) for seed in range(50)} == {1, 3}
    assert {gene.step(Random(seed), 4, {}) for seed in range(50)} == {3}


def test_a_gene_without_effect_is_neither_mutated_nor_counted() -> None:
    plain = {"method": "plain", "strength": 1}
    first, second, last = ({"method": "fancy", "strength": strength} for strength in (1, 2, 4))
    assert SPACE.distance(plain, {"method": "plain", "strength": 4}) == 0
    assert SPACE.distance(first, last) == pytest.approx(1)
    assert SPACE.distance(first, second) == pytest.approx(1 / 3)
    for seed in range(50):
        child = SPACE.mutate(Random(seed), plain, "")
        assert child["method"] == "fancy" or child["strength"] == 1


def test_a_gene_travels_with_the_one_it_needs() -> None:
    first, second = {"method": "plain", "strength": 1}, {"method": "fancy", "strength": 4}
    assert all(SPACE.cross(Random(seed), first, second) in (first, second) for seed in range(50))
