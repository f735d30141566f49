"""Picking the best of many: shrinkage takes the winner's luck away, honest scores are not refuted, bands are steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from statistics import median_low

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.scoring.results.ranking_statistics import (
    MAX_ERROR_RATIO,
    Score,
    ScoreSample,
    VariancePrior,
    assign_bands,
    critical_value,
    refutes,
    shrink_scores,
)

means = st.floats(-2, 2).map(lambda value: round(value, 6))
errors = st.floats(1e-3, 0.5)
boards = st.lists(st.tuples(means, errors), max_size=30)


@given(st.lists(st.tuples(means, errors), max_size=2))
def test_one_or_two_scores_stay_as_they_are(scores: list[Score]) -> None:
    assert shrink_scores(scores) == scores


def test_exact_scores_stay_as_they_are() -> None:
    scores = [(0.1, 0.0), (0.2, 0.0), (0.5, 0.0), (0.3, 0.0)]
    assert shrink_scores(scores) == scores


@given(boards)
def test_each_score_moves_toward_one_centre_and_not_past_it(scores: list[Score]) -> None:
    shrunk = shrink_scores(scores)
    moved = [(before[0], after[0]) for before, after in zip(scores, shrunk, strict=True) if before[0] != after[0]]
    down = [after for before, after in moved if after < before]
    up = [after for before, after in moved if after > before]
    if down and up:
        assert max(up) <= min(down) + 1e-9
    assert all(min(m for m, _ in scores) - 1e-9 <= mean <= max(m for m, _ in scores) + 1e-9 for mean, _ in shrunk)
    assert all(math.isfinite(sd) and sd >= 0 for _, sd in shrunk)


@given(boards, st.randoms(use_true_random=False))
def test_the_order_of_the_scores_does_not_matter(scores: list[Score], random: object) -> None:
    places = list(range(len(scores)))
    random.shuffle(places)  # type: ignore[attr-defined]
    there, back = shrink_scores(scores), shrink_scores([scores[place] for place in places])
    for place, found in zip(places, back, strict=True):
        assert found == pytest.approx(there[place], abs=1e-9)


@given(st.lists(means, min_size=3, max_size=30), errors)
def test_equally_sure_scores_keep_their_order(values: list[float], error: float) -> None:
    shrunk = [mean for mean, _ in shrink_scores([(value, error) for value in sorted(values)])]
    assert all(low <= high + 1e-12 for low, high in pairwise(shrunk))


def test_of_two_equal_scores_the_less_sure_one_is_trusted_less() -> None:
    field = [(0.1, 0.02), (0.15, 0.02), (0.2, 0.02), (0.3, 0.02)]
    (sure, _), (unsure, _) = shrink_scores([*field, (0.5, 0.01), (0.5, 0.1)])[-2:]
    assert unsure < sure < 0.5


def test_a_score_without_error_is_kept_and_the_others_still_shrink() -> None:
    shrunk = shrink_scores([(0.4, 0.0), (0.1, 0.1), (0.2, 0.1), (0.9, 0.1), (0.3, 0.1)])
    assert shrunk[0] == (0.4, 0.0)
    assert 0.4 < shrunk[3][0] < 0.9


def test_equal_errors_give_the_positive_part_estimator() -> None:
    """``m + max(0, 1 - (k - 1) s^2 / S) (x - m)`` with S the sum of squares around m."""
    values, error = [0.1, 0.25, 0.3, 0.42, 0.7, 0.55], 0.1
    centre = sum(values) / len(values)
    scatter = sum((value - centre) ** 2 for value in values)
    keep = 1 - (len(values) - 1) * error**2 / scatter
    expected = [centre + keep * (value - centre) for value in values]
    assert [mean for mean, _ in shrink_scores([(value, error) for value in values])] == pytest.approx(expected)


@pytest.mark.parametrize(("spread", "size"), [(0.0, 8), (0.03, 8), (0.03, 40), (0.15, 40)])
def test_shrinking_takes_the_winners_curse_away(spread: float, size: int) -> None:
    """The raw winner promises more than it keeps; the shrunken one is right on average, and its sd says how sure."""
    rng = np.random.default_rng(size)
    raw, kept, within, repeats = [], [], 0, 1500
    for _ in range(repeats):
        truth = rng.normal(0.3, spread, size)
        error = rng.uniform(0.02, 0.05, size)
        seen = rng.normal(truth, error)
        best = int(np.argmax(seen))
        mean, sd = shrink_scores(list(zip(seen.tolist(), error.tolist(), strict=True)))[best]
        raw.append(seen[best] - truth[best])
        kept.append(mean - truth[best])
        within += abs(mean - truth[best]) < 1.645 * sd
    noise = float(np.std(kept)) / math.sqrt(repeats)
    assert np.mean(raw) > 0.3 * 0.035
    # The spread between the true values is estimated too: what is left of the curse is under a fifth of it.
    assert abs(np.mean(kept)) < max(3 * noise, 0.2 * float(np.mean(raw)))
    assert within / repeats > 0.85


freedoms = st.floats(1, 100)
commons = st.none() | st.builds(VariancePrior, st.floats(1e-6, 0.2), st.floats(0.1, 500), st.integers(1, 8))


@settings(deadline=None)  # the first call loads scipy
@given(means, errors, means, errors, freedoms, commons, st.integers(1, 500), st.integers(1, 10), st.floats(0, 1))
def test_a_lower_confirmation_refutes_sooner_and_more_tries_later(
    measured: float,
    error: float,
    confirmed: float,
    other: float,
    freedom: float,
    common: VariancePrior | None,
    tries: int,
    checks: int,
    lower: float,
) -> None:
    board, again = ScoreSample(measured, error, freedom, 2), ScoreSample(confirmed, other, freedom, 4)
    below = replace(again, mean=confirmed - lower)
    if refutes(board, again, tries=tries, checks=checks, common=common):
        assert confirmed < measured
        assert refutes(board, below, tries=tries, checks=checks, common=common)
        assert refutes(board, again, tries=max(1, tries - 1), checks=checks, common=common)
        assert refutes(board, again, tries=tries, checks=max(1, checks - 1), common=common)
    else:
        above = replace(again, mean=confirmed + lower)
        assert not refutes(board, again, tries=tries + 1, checks=checks, common=common)
        assert not refutes(board, above, tries=tries, checks=checks, common=common)


def test_a_real_fall_refutes_and_a_rise_never() -> None:
    assert refutes(ScoreSample(0.6, 0.02, 50), ScoreSample(0.3, 0.02, 50), tries=1000, checks=5)
    assert not refutes(ScoreSample(0.3, 0.02, 50), ScoreSample(0.9, 0.02, 50), tries=1, checks=1)


def test_few_degrees_of_freedom_ask_for_a_larger_fall() -> None:
    """With two seeds the errors themselves are luck: 4 of them are no contradiction, where many seeds make it one."""
    for freedom, refuted in ((1.0, False), (2.0, False), (30.0, True)):
        before, after = ScoreSample(0.40, 0.02, freedom, 2), ScoreSample(0.28, 0.02, freedom, 2)
        assert refutes(before, after, tries=20, checks=5) is refuted


def test_the_common_error_of_a_campaign_stands_in_where_seeds_are_few() -> None:
    before, after = ScoreSample(0.60, 0.02, 1, 2), ScoreSample(0.30, 0.02, 1, 2)
    common = VariancePrior(variance=2 * 0.02**2, freedom=40, seeds=2)
    assert not refutes(before, after, tries=50, checks=5)
    assert refutes(before, after, tries=50, checks=5, common=common)
    noisy = replace(after, standard_error=0.3)
    assert not refutes(before, noisy, tries=50, checks=5, common=common), "its own spread is never ignored"


@pytest.mark.parametrize(("tries", "checks"), [(0, 1), (1, 0)])
def test_no_try_or_no_check_is_a_mistake(tries: int, checks: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        refutes(ScoreSample(0.5, 0.1, 3), ScoreSample(0.4, 0.1, 3), tries=tries, checks=checks)


def test_one_comparison_has_the_textbook_critical_value_and_many_have_sidaks() -> None:
    assert critical_value(1) == pytest.approx(1.6449, abs=1e-4)
    assert critical_value(10) == pytest.approx(2.5679, abs=1e-3)
    assert critical_value(10**9) > critical_value(10**6) > 4.5
    assert critical_value(1, freedom=1) == pytest.approx(6.3138, abs=1e-4)
    assert critical_value(1, freedom=10) == pytest.approx(1.8125, abs=1e-4)


def shrunken(scores: Sequence[Score]) -> list[float]:
    return [mean for mean, _ in shrink_scores(scores)]


def in_bands(scores: Sequence[Score]) -> list[int]:
    return assign_bands(scores, shrunken(scores))


@given(boards)
def test_bands_are_steps_from_one(scores: Sequence[Score]) -> None:
    found = in_bands(scores)
    assert set(found) == set(range(1, max(found, default=0) + 1))


@given(boards)
@settings(max_examples=50)
def test_one_step_of_the_usual_error_parts_the_usual_rows(scores: Sequence[Score]) -> None:
    most = MAX_ERROR_RATIO * median_low([error for _, error in scores] or [0.0])
    usual = [error for _, error in scores if error <= most]
    step = math.sqrt(2 * sum(error**2 for error in usual) / max(1, len(usual))) + 1e-12
    found = sorted((band, -mean) for (mean, error), band in zip(scores, in_bands(scores), strict=True) if error <= most)
    for band, rows in groupby(found, key=lambda row: row[0]):
        values = [-value for _, value in rows]
        assert values[0] - values[-1] <= step
        above = [-value for other, value in found if other == band - 1]
        assert not above or above[0] - values[0] > step - 2e-12


usual_rows = st.lists(st.tuples(means, st.floats(0.02, 0.04)), min_size=2, max_size=20)


@given(usual_rows, means, st.floats(0.09, 5), st.data())
def test_one_noisy_score_changes_nobody_elses_band(
    scores: list[Score], mean: float, error: float, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(scores)))
    found = in_bands([*scores[:place], (mean, error), *scores[place:]])
    del found[place]
    assert found == in_bands(scores)


def test_an_unsure_score_that_is_high_by_luck_neither_flattens_the_board_nor_leads_it() -> None:
    sure = [(0.45, 0.02), (0.41, 0.02), (0.33, 0.02), (0.27, 0.02), (0.22, 0.02)]
    assert in_bands(sure) == [1, 2, 3, 4, 5]
    assert in_bands([(0.50, 0.30), *sure]) == [3, 1, 2, 3, 4, 5]


def test_an_error_of_nothing_is_no_measure_of_the_noise() -> None:
    assert in_bands([(0.50, 0.0), (0.49, 0.02), (0.48, 0.0), (0.40, 0.02)]) == [1, 1, 1, 2]
    assert in_bands([(0.5, 0.0), (0.4, 0.0), (0.4, 0.0)]) == [1, 2, 2]


def test_a_step_within_the_noise_gains_no_place() -> None:
    assert in_bands([(0.50, 0.02), (0.49, 0.02), (0.48, 0.02), (0.40, 0.02), (0.39, 0.02)]) == [1, 1, 1, 2, 2]
