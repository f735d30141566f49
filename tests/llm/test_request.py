"""The cache lifetime that a researcher's own pauses make cheaper."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.llm.request import CacheTtlPolicy


def rhythm(gaps: list[float]) -> CacheTtlPolicy:
    now = [0.0]
    made = CacheTtlPolicy(clock=lambda: now[0])
    made.record_call()
    for gap in gaps:
        now[0] += gap
        made.record_call()
    return made


@pytest.mark.parametrize(
    ("gaps", "lifetime"),
    [
        ([], "5m"),
        ([20.0] * 60, "5m"),
        ([20.0] * 15 + [900.0] * 3, "1h"),
        ([20.0] * 15 + [7200.0] * 3, "5m"),
    ],
)
def test_long_waits_within_an_hour_pay_for_the_hour(gaps: list[float], lifetime: str) -> None:
    assert rhythm(gaps).choose_lifetime(40_000, 1_000) == lifetime


@given(st.lists(st.floats(0, 10_000), max_size=80), st.integers(1, 200_000), st.integers(1, 20_000))
def test_the_choice_is_the_cheaper_one_at_the_estimated_share(gaps: list[float], prompt: int, new: int) -> None:
    late = sum(300 < gap <= 3600 for gap in gaps)
    share = (late + 0.5) / (len(gaps) + 50)
    # In units of plain input, for one turn: what is written, and what a lost cache has to write again.
    short = 1.25 * new + share * (1.25 - 0.1) * prompt
    long = 2.0 * new
    if abs(short - long) > 1e-6 * long:
        assert rhythm(gaps).choose_lifetime(prompt, new) == ("1h" if long < short else "5m")
