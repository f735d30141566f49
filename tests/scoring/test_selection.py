"""Picking the best of many: shrinkage takes the winner's luck away, honest scores are not refuted, bands are steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.scoring.selection import Score, bands, critical, refutes, shrink

means = st.floats(-2, 2).map(lambda value: round(value, 6))
errors = st.floats(1e-3, 0.5)
boards = st.lists(st.tuples(means, errors), max_size=30)


@given(st.lists(st.tuples(means, errors), max_size=2))
def test_one_or_two_scores_stay_as_they_are(scores: list[Score]) -> None:
    assert shrink(scores) == scores


def test_exact_scores_stay_as_they_are() -> None:
    scores = [(0.1, 0.0), (0.2, 0.0), (0.5, 0.0), (0.3, 0.0)]
    assert shrink(scores) == scores


@given(boards)
def test_each_score_moves_toward_one_centre_and_not_past_it(scores: list[Score]) -> None:
    shrunk = shrink(scores)
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
    there, back = shrink(scores), shrink([scores[place] for place in places])
    for place, found in zip(places, back, strict=True):
        assert found == pytest.approx(there[place], abs=1e-9)


@given(st.lists(means, min_size=3, max_size=30), errors)
def test_equally_sure_scores_keep_their_order(values: list[float], error: float) -> None:
    shrunk = [mean for mean, _ in shrink([(value, error) for value in sorted(values)])]
    assert all(low <= high + 1e-12 for low, high in pairwise(shrunk))


def test_of_two_equal_scores_the_less_sure_one_is_trusted_less() -> None:
    field = [(0.1, 0.02), (0.15, 0.02), (0.2, 0.02), (0.3, 0.02)]
    (sure, _), (unsure, _) = shrink([*field, (0.5, 0.01), (0.5, 0.1)])[-2:]
    assert unsure < sure < 0.5


def test_a_score_without_error_is_kept_and_the_others_still_shrink() -> None:
    shrunk = shrink([(0.4, 0.0), (0.1, 0.1), (0.2, 0.1), (0.9, 0.1), (0.3, 0.1)])
    assert shrunk[0] == (0.4, 0.0)
    assert 0.4 < shrunk[3][0] < 0.9


def test_equal_errors_give_the_positive_part_estimator() -> None:
    """``m + max(0, 1 - (k - 1) s^2 / S) (x - m)`` with S the sum of squares around m."""
    values, error = [0.1, 0.25, 0.3, 0.42, 0.7, 0.55], 0.1
    centre = sum(values) / len(values)
    scatter = sum((value - centre) ** 2 for value in values)
    keep = 1 - (len(values) - 1) * error**2 / scatter
    expected = [centre + keep * (value - centre) for value in values]
    assert [mean for mean, _ in shrink([(value, error) for value in values])] == pytest.approx(expected)


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
        mean, sd = shrink(list(zip(seen.tolist(), error.tolist(), strict=True)))[best]
        raw.append(seen[best] - truth[best])
        kept.append(mean - truth[best])
        within += abs(mean - truth[best]) < 1.645 * sd
    noise = float(np.std(kept)) / math.sqrt(repeats)
    assert np.mean(raw) > 0.3 * 0.035
    # The spread between the true values is estimated too: what is left of the curse is under a fifth of it.
    assert abs(np.mean(kept)) < max(3 * noise, 0.2 * float(np.mean(raw)))
    assert within / repeats > 0.85


@given(means, errors, means, errors, st.integers(1, 500), st.integers(1, 10), st.floats(0, 1))
def test_a_lower_confirmation_refutes_sooner_and_more_tries_later(
    measured: float, error: float, confirmed: float, other: float, tries: int, checks: int, lower: float
) -> None:
    found = refutes((measured, error), (confirmed, other), tries=tries, checks=checks)
    if found:
        assert confirmed < measured
        assert refutes((measured, error), (confirmed - lower, other), tries=tries, checks=checks)
        assert refutes((measured, error), (confirmed, other), tries=max(1, tries - 1), checks=checks)
        assert refutes((measured, error), (confirmed, other), tries=tries, checks=max(1, checks - 1))
    else:
        assert not refutes((measured, error), (confirmed, other), tries=tries + 1, checks=checks)
        assert not refutes((measured, error), (confirmed + lower, other), tries=tries, checks=checks)


def test_a_real_fall_refutes_and_a_rise_never() -> None:
    assert refutes((0.6, 0.02), (0.3, 0.02), tries=1000, checks=5)
    assert not refutes((0.3, 0.02), (0.9, 0.02), tries=1, checks=1)


@pytest.mark.parametrize(("tries", "checks"), [(0, 1), (1, 0)])
def test_no_try_or_no_check_is_a_mistake(tries: int, checks: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        refutes((0.5, 0.1), (0.4, 0.1), tries=tries, checks=checks)


def test_one_comparison_has_the_textbook_critical_value_and_many_have_sidaks() -> None:
    assert critical(1) == pytest.approx(1.6449, abs=1e-4)
    assert critical(10) == pytest.approx(2.5679, abs=1e-3)
    assert critical(10**9) > critical(10**6) > 4.5


@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_honest_winners_are_hardly_ever_refuted(spread: float) -> None:
    """The best five of 40 are confirmed: in at most 5 % of campaigns is any of them refuted."""
    rng = np.random.default_rng(5)
    refuted, repeats = 0, 1000
    for _ in range(repeats):
        truth = rng.normal(0.3, spread, 40)
        seen, again = rng.normal(truth, 0.03), rng.normal(truth, 0.02)
        best = np.argsort(seen)[-5:]
        refuted += any(refutes((seen[i], 0.03), (again[i], 0.02), tries=40, checks=5) for i in best)
    assert refuted / repeats <= 0.05


@given(boards)
def test_bands_are_steps_from_one(scores: Sequence[Score]) -> None:
    scores = sorted(scores, reverse=True)
    found = bands(scores)
    assert found[:1] == [1] * min(1, len(scores))
    assert all(later - earlier in (0, 1) for earlier, later in pairwise(found))


@given(boards)
@settings(max_examples=50)
def test_rows_of_a_band_are_within_the_noise_of_its_head(scores: Sequence[Score]) -> None:
    scores = sorted(scores, reverse=True)
    found = bands(scores)
    for place, (score, band) in enumerate(zip(scores, found, strict=True)):
        head = scores[found.index(band)]
        within = head[0] - score[0] <= math.hypot(head[1], score[1])
        assert within
        if place and found[place - 1] != band:
            before = scores[found.index(band - 1)]
            assert before[0] - score[0] > math.hypot(before[1], score[1])


def test_a_step_within_the_noise_gains_no_place() -> None:
    assert bands([(0.50, 0.02), (0.49, 0.02), (0.48, 0.02), (0.40, 0.02), (0.39, 0.02)]) == [1, 1, 1, 2, 2]
