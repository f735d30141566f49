from __future__ import annotations

from random import Random

import pytest

from aar.problems.search_space import DirectionBias, Gene, GenePool

POOL = GenePool(
    (
        Gene("method", {"plain": 1, "fancy": 1}),
        Gene("strength", {1: 1, 2: 1, 3: 1, 4: 1}, ordered=True, needs="method", needs_not=("plain",)),
    ),
    (DirectionBias(("fanc", "two words"), {"method": {"plain": 0.0}}),),
)


def test_a_direction_weighs_what_is_drawn() -> None:
    assert {POOL.sample(Random(seed), "")["method"] for seed in range(50)} == {"plain", "fancy"}
    for direction in ("Be FANCY.", "in two words"):
        assert {POOL.sample(Random(seed), direction)["method"] for seed in range(50)} == {"fancy"}
    assert not DirectionBias(("fanc",), {}).matches("unfancied")


def test_ordered_genes_take_small_steps() -> None:
    gene = POOL.genes[1]
    assert {gene.step(Random(seed), 2, {}) for seed in range(50)} == {1, 3}
    assert {gene.step(Random(seed), 4, {}) for seed in range(50)} == {3}


def test_a_gene_without_effect_is_neither_mutated_nor_counted() -> None:
    plain = {"method": "plain", "strength": 1}
    assert POOL.distance(plain, {"method": "plain", "strength": 4}) == 0
    assert POOL.distance({"method": "fancy", "strength": 1}, {"method": "fancy", "strength": 4}) == pytest.approx(1)
    assert POOL.distance({"method": "fancy", "strength": 1}, {"method": "fancy", "strength": 2}) == pytest.approx(1 / 3)
    for seed in range(50):
        child = POOL.mutate(Random(seed), plain, "")
        assert child["method"] == "fancy" or child["strength"] == 1


def test_a_gene_travels_with_the_one_it_needs() -> None:
    first, second = {"method": "plain", "strength": 1}, {"method": "fancy", "strength": 4}
    assert all(POOL.cross(Random(seed), first, second) in (first, second) for seed in range(50))
