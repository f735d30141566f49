"""What the errors of a campaign have in common, and what decisions come of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.problems.protocol import Estimate
from aar.scoring.results.ranking_statistics import (
    MIN_CODES,
    ScoreSample,
    VariancePrior,
    fit_variance_prior,
    make_sample,
    sample_from_estimate,
)
from aar.testing.statistics_simulations import SimulatedCampaign, share_caught, share_refuted


def drawn(noises: list[float], freedom: int, seed: int = 1) -> list[ScoreSample]:
    """Standard errors of ``freedom + 1`` seeds of methods with these standard deviations."""
    rng = np.random.default_rng(seed)
    variances = [noise**2 * rng.chisquare(freedom) / freedom / (freedom + 1) for noise in noises]
    return [ScoreSample(0.3, math.sqrt(each), freedom, freedom + 1, freedom) for each in variances]


def test_methods_alike_in_noise_share_one_error_and_unlike_ones_do_not() -> None:
    alike = fit_variance_prior(drawn([0.04] * 400, 3))
    assert alike is not None
    assert alike.variance == pytest.approx(0.04**2, rel=0.15)
    assert alike.freedom > 50
    spread = np.random.default_rng(2).normal(0, 1.0, 400)
    unlike = fit_variance_prior(drawn([0.04 * math.exp(each) for each in spread], 3))
    assert unlike is not None
    assert 0.2 < unlike.freedom < 4


def test_the_law_that_variances_were_drawn_from_is_found_again() -> None:
    """Variances of a scaled inverse chi-squared law with 6 degrees of freedom around 0.03^2."""
    rng = np.random.default_rng(3)
    noises = [math.sqrt(0.03**2 * 6 / rng.chisquare(6)) for _ in range(2000)]
    found = fit_variance_prior(drawn(noises, 4))
    assert found is not None
    assert found.variance == pytest.approx(0.03**2, rel=0.1)
    assert found.freedom == pytest.approx(6, rel=0.3)
    assert found.seeds == 5


def test_few_scores_or_such_without_an_error_say_nothing() -> None:
    assert fit_variance_prior(drawn([0.04] * (MIN_CODES - 1), 3)) is None
    assert fit_variance_prior([ScoreSample(0.3, 0.0, 1)] * 20) is None


samples = st.builds(
    ScoreSample, st.floats(-1, 1), st.floats(0, 1), st.floats(0.5, 5000), st.integers(1, 16), st.floats(0, 9000)
)


@settings(deadline=None)  # the first call loads scipy
@given(st.lists(samples, max_size=12))
def test_any_errors_give_a_sound_answer(found: list[ScoreSample]) -> None:
    common = fit_variance_prior(found)
    if common is not None:
        assert 0 < common.variance < math.inf
        assert 0 < common.freedom <= math.fsum(each.freedom for each in found) * (1 + 1e-9)
        for each in found:
            variance, freedom = common.moderate(each)
            assert variance >= each.standard_error**2 > -1
            assert math.isfinite(variance)
            assert freedom > each.freedom - 1e-9


def test_more_seeds_than_usual_do_not_lower_the_common_part() -> None:
    common = VariancePrior(variance=0.0032, freedom=1e9, seeds=2)
    of_seeds = [common.moderate(ScoreSample(0.3, 0.001, 1, seeds))[0] for seeds in (1, 2, 16)]
    assert of_seeds == pytest.approx([0.0032, 0.0016, 0.0016])


def test_a_score_without_degrees_of_freedom_has_the_fewest_that_its_seeds_allow() -> None:
    assert [make_sample(0.3, 0.1, None, seeds, {}).freedom for seeds in (1, 2, 4)] == [1, 1, 3]
    part = Estimate(0.3, 0.1, 0.1, 0.5, 4, freedom=3.0)
    pooled = sample_from_estimate(
        Estimate(0.3, 0.1, 0.1, 0.5, 8, {"a": part, "b": part}, 4.5), 4, higher_is_better=False
    )
    assert pooled == ScoreSample(-0.3, 0.1, 4.5, 4, 6.0)
    assert make_sample(0.3, 0.1, None, 4, {"a": {"mean": 0.3}, "b": {}}).most_freedom == 6


@pytest.mark.parametrize("seeds", [2, 4])
@pytest.mark.parametrize("floor", [False, True], ids=["", "floor"])
@pytest.mark.parametrize("unlike", [0.0, 0.6], ids=["alike", "unlike"])
def test_honest_winners_are_hardly_ever_refuted(seeds: int, floor: bool, unlike: float) -> None:
    """The best five of 50 are confirmed: in at most 5 % of campaigns is any refuted (benchmarks/refutations.py)."""
    setting = SimulatedCampaign(seeds, 50, floor=floor, unlike=unlike)
    assert share_refuted(setting, 60, np.random.default_rng(seeds)) <= 0.05


@pytest.mark.parametrize("seeds", [2, 3])
def test_an_overfitted_winner_is_refuted_with_few_seeds(seeds: int) -> None:
    assert share_caught(SimulatedCampaign(seeds, 50), 0.3, 25, np.random.default_rng(seeds)) > 0.9
