"""The diversity gauge."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.campaign.diversity import shannon_bits


def test_all_alike_is_zero_and_all_different_is_the_logarithm() -> None:
    assert shannon_bits(["a"] * 5) == 0
    assert shannon_bits(["a", "b", "c", "d"]) == pytest.approx(2)
    assert shannon_bits([]) == 0


@given(st.lists(st.sampled_from("abcdefghijk"), min_size=1))
def test_entropy_is_bounded_and_ignores_order(families: list[str]) -> None:
    bits = shannon_bits(families)
    assert 0 <= bits <= math.log2(len(set(families))) + 1e-9
    assert bits == pytest.approx(shannon_bits(sorted(families)))
