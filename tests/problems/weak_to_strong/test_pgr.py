"""PGR and its error: exact at the ends, invariant to order, and covering the truth as often as it says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.errors import ProblemError
from aar.problems.statistics import VarianceTerm, make_estimate, pool_means
from aar.problems.weak_to_strong.pgr import count_patterns, pool_domain, pool_domains

Parts = Mapping[str, float]


def split(rng: np.random.Generator, *, items: int = 400, method: float = 0.7, universe: int | None = None) -> Parts:
    """A split whose weak teacher is right on about 60 % of the items and whose ceiling on about 80 %."""
    weak, ceiling = rng.random(items) < 0.6, rng.random(items) < 0.8
    return count_patterns(rng.random(items) < method, weak, ceiling, universe or items)


seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 6))
def test_as_good_as_the_teacher_is_zero_and_as_the_ceiling_one(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    ends: list[tuple[Parts, Parts]] = []
    for _ in range(k):
        weak, ceiling = rng.random(300) < 0.55, rng.random(300) < 0.85
        ends.append((count_patterns(weak, weak, ceiling, 300), count_patterns(ceiling, weak, ceiling, 300)))
    assert pool_domains({"d": [low for low, _ in ends]}).mean == pytest.approx(0)
    top = pool_domains({"d": [high for _, high in ends]})
    assert top.mean == pytest.approx(1)
    assert top.standard_error == pytest.approx(0, abs=1e-9)


@given(seeds, st.integers(1, 5), st.integers(1, 3))
def test_order_does_not_matter(seed: int, k: int, domains: int) -> None:
    rng = np.random.default_rng(seed)
    scores = {f"d{index}": [split(rng) for _ in range(k)] for index in range(domains)}
    turned = {name: scores[name][::-1] for name in reversed(scores)}
    there, back = pool_domains(scores), pool_domains(turned)
    assert there.mean == pytest.approx(back.mean)
    assert there.standard_error == pytest.approx(back.standard_error)
    assert there.low <= there.mean <= there.high
    assert there.mean == pytest.approx(math.fsum(part.mean for part in there.by_domain.values()) / domains)


@given(seeds, st.integers(2, 4))
@settings(max_examples=50)
def test_splits_that_agree_by_luck_keep_the_error_of_their_items(seed: int, k: int) -> None:
    one = split(np.random.default_rng(seed), universe=10**9)
    alone, repeated = pool_domains({"d": [one]}), pool_domains({"d": [one] * k})
    assert repeated.mean == pytest.approx(alone.mean)
    assert repeated.standard_error == pytest.approx(alone.standard_error / math.sqrt(k), rel=1e-3)


@given(seeds, st.integers(2, 50))
@settings(max_examples=50)
def test_a_fixed_test_set_keeps_its_items_error_however_many_seeds(seed: int, k: int) -> None:
    one = split(np.random.default_rng(seed))
    alone, repeated = pool_domains({"d": [one]}), pool_domains({"d": [one] * k})
    assert repeated.standard_error == pytest.approx(alone.standard_error)


def test_error_of_one_split_matches_the_bootstrap_over_items() -> None:
    rng = np.random.default_rng(3)
    hits = np.stack([rng.random(800) < share for share in (0.7, 0.6, 0.8)])
    alone = pool_domains({"d": [count_patterns(*hits, 800)]})
    ratios = []
    for _ in range(2000):
        m, w, c = hits[:, rng.integers(0, 800, 800)].mean(axis=1)
        ratios.append((m - w) / (c - w))
    assert alone.standard_error == pytest.approx(np.std(ratios), rel=0.1)


@pytest.mark.parametrize("k", [2, 4, 8])
def test_interval_covers_the_truth_as_often_as_it_says(k: int) -> None:
    """Items from one shared universe, and a teacher and a method that differ from split to split."""
    rng = np.random.default_rng(k)
    truth, covered, repeats = (0.7 - 0.6) / (0.8 - 0.6), 0, 400
    for _ in range(repeats):
        draws = rng.random((3, 1000))
        splits = []
        for _ in range(k):
            chosen = rng.permutation(1000)[:400]
            levels = np.array([0.7, 0.6, 0.8]) + rng.normal(0, [0.02, 0.02, 0.01])
            splits.append(count_patterns(*(draws[:, chosen] < levels[:, None]), 1000))
        pooled = pool_domains({"d": splits})
        covered += pooled.low <= truth <= pooled.high
    assert 0.86 <= covered / repeats <= 0.97


def test_rows_that_are_always_hard_are_told_from_rows_that_are_hard_by_chance() -> None:
    """40 splits with the same 2000 test rows and no change of level: the rows' error stays, or averages out."""
    rng = np.random.default_rng(8)
    rows, levels = np.arange(2000), np.array([0.7, 0.6, 0.8])[:, None]
    fixed = rng.random((3, 2000)) < levels
    always = [count_patterns(*fixed, 2000, rows)] * 40
    by_chance = [count_patterns(*(rng.random((3, 2000)) < levels), 2000, rows) for _ in range(40)]
    alone = pool_domains({"d": always[:1]}).standard_error
    assert pool_domains({"d": always}).standard_error == pytest.approx(alone, rel=0.25)
    assert pool_domains({"d": by_chance}).standard_error < 0.4 * alone


@given(seeds, st.integers(2, 6))
def test_groups_never_bring_more_error_than_rows_that_are_always_hard(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    levels = np.array([0.7, 0.6, 0.8])[:, None]
    hits = [rng.random((3, 320)) < levels for _ in range(k)]
    grouped = [count_patterns(*each, 320, np.arange(320)) for each in hits]
    plain = [count_patterns(*each, 320) for each in hits]
    assert pool_domains({"d": grouped}).mean == pool_domains({"d": plain}).mean
    assert pool_domains({"d": grouped}).standard_error <= pool_domains({"d": plain}).standard_error + 1e-12
    assert pool_domains({"d": [grouped[0], *plain[1:]]}) == pool_domains({"d": plain})


def test_no_gap_is_refused() -> None:
    hits = np.array([True, False] * 10)
    with pytest.raises(ProblemError, match="no gap"):
        pool_domain([count_patterns(hits, hits, hits, 20)])


def test_nothing_to_pool_is_refused() -> None:
    nothing: list[dict[str, Sequence[Parts]]] = [{}, {"d": []}]
    for scores in nothing:
        with pytest.raises(ProblemError, match="no task score"):
            pool_domains(scores)


def test_a_single_term_gives_students_interval() -> None:
    found = make_estimate(2.0, [VarianceTerm(0.25, 4)], 5)
    assert (found.low, found.high) == pytest.approx((2 - 2.131847 * 0.5, 2 + 2.131847 * 0.5), abs=1e-5)
    assert found.freedom == pytest.approx(4)


def test_the_degrees_of_freedom_of_several_terms_are_welchs() -> None:
    equal = make_estimate(0.0, [VarianceTerm(0.01, 3), VarianceTerm(0.01, 3)], 8)
    unequal = make_estimate(0.0, [VarianceTerm(0.01, 3), VarianceTerm(1e-9, 3)], 8)
    assert (equal.freedom, unequal.freedom) == (pytest.approx(6), pytest.approx(3))
    assert make_estimate(0.0, [], 1).freedom == 1, "no error says nothing of itself"


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=8), st.lists(st.floats(-1, 1), min_size=2, max_size=8))
def test_means_pool_to_the_mean_of_domains(first: list[float], second: list[float]) -> None:
    pooled = pool_means({"a": first, "b": second})
    assert pooled.mean == pytest.approx((np.mean(first) + np.mean(second)) / 2, abs=1e-9)
    variances = [np.var(values, ddof=1) / len(values) for values in (first, second)]
    assert pooled.standard_error == pytest.approx(math.sqrt(sum(variances)) / 2, abs=1e-6)
