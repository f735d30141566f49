"""Figures that a service reports, whatever they are: what was told is never taken back, and nothing is free."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.budget.ledger import Ledger, WorstCase
from aar.budget.limits import Limits
from aar.errors import LimitReached
from aar.llm import usage as reading
from aar.llm.price_book import REGIONAL_SURCHARGE, PriceBook
from aar.llm.usage import CallBill, ReportedUsage, ServedTerms, Usage
from aar.store.database import Database

MODEL = "claude-opus-5-5"
WORST = Usage(cache_write_1h_tokens=5000, output_tokens=1000)
TOLD = {"input_tokens": 100, "output_tokens": 20}


def bill(*told: Any, model: str | None = MODEL, content: bool = True) -> CallBill:
    """Of a reply whose first figures come at its start, and whose last ones at its end."""
    seen = ReportedUsage()
    for place, each in enumerate(told):
        seen.take(each, last=place == len(told) - 1)
    return seen.bill(called=MODEL, model=model, content=content)


def test_sound_figures_leave_no_doubt() -> None:
    start = {**TOLD, "output_tokens": 1, "cache_creation_input_tokens": 0, "server_tool_use": None}
    assert bill(start, {"output_tokens": 20}) == CallBill(replace(Usage(100, output_tokens=20), largest_prompt=100))
    assert not bill({**TOLD, "input_tokens": 0.0, "cache_read_input_tokens": 7}).doubts
    assert not bill({**TOLD, "output_tokens": 0}, content=False).doubts


@pytest.mark.parametrize(
    ("told", "doubt"),
    [
        ([None], reading.MISSING),
        ([{}], reading.MISSING),
        (["usage"], reading.MISSING),
        ([{"input_tokens": 5}], reading.MISSING),
        ([{"output_tokens": 5}], reading.MISSING),
        ([TOLD, None], reading.NO_END),
        ([TOLD, {"output_tokens": None}], reading.NO_END),
        ([{"input_tokens": 0, "output_tokens": 9}], reading.ZERO),
        ([{"input_tokens": 9, "output_tokens": 0}], reading.ZERO),
        ([{**TOLD, "input_tokens": -9}], reading.NEGATIVE),
        ([{**TOLD, "cache_read_input_tokens": -9}], reading.NEGATIVE),
        ([{**TOLD, "input_tokens": 12.5}], reading.NOT_WHOLE),
        ([{**TOLD, "input_tokens": "12"}], reading.NOT_WHOLE),
        ([{**TOLD, "output_tokens": True}], reading.NOT_WHOLE),
        ([{**TOLD, "output_tokens": float("nan")}], reading.NOT_WHOLE),
        ([{**TOLD, "output_tokens": float("inf")}], reading.IMPLAUSIBLE),
        ([{**TOLD, "input_tokens": 10**30}], reading.IMPLAUSIBLE),
        ([{**TOLD, "cache_creation": [1]}], reading.NOT_WHOLE),
        ([{**TOLD, "cache_creation": {"ephemeral_5m_input_tokens": -1}}], reading.NEGATIVE),
        ([{**TOLD, "server_tool_use": {"web_search_requests": 0.5}}], reading.NOT_WHOLE),
        ([{**TOLD, "iterations": "none"}], reading.MISSING),
        ([{**TOLD, "iterations": [{"type": "message", "input_tokens": 4}]}], reading.MISSING),
        ([TOLD, {"input_tokens": 99, "output_tokens": 20}], reading.SHRANK),
        ([{**TOLD, "output_tokens": 30}, {"output_tokens": 20}], reading.SHRANK),
        ([{**TOLD, "cache_read_input_tokens": 9}, {**TOLD, "cache_read_input_tokens": 0}], reading.SHRANK),
        ([{**TOLD, "speed": "warp"}], reading.UNKNOWN_TERMS),
        ([{**TOLD, "service_tier": "express"}], reading.UNKNOWN_TERMS),
        ([{**TOLD, "inference_geo": "moon"}], reading.UNKNOWN_TERMS),
    ],
)
def test_what_cannot_be_right_is_a_doubt(told: list[Any], doubt: str) -> None:
    found = bill(*told)
    assert doubt in found.doubts
    charged = found.at_least(WORST)
    assert charged.prompt_tokens >= WORST.prompt_tokens
    assert charged.output_tokens >= WORST.output_tokens


def test_the_ends_own_figures_count() -> None:
    """The SDK keeps the split by lifetime of the start beside the totals of the end."""
    split = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    start = {"input_tokens": 5, "output_tokens": 1, "cache_creation": split, "cache_creation_input_tokens": 0}
    later = bill(start, {"output_tokens": 9, "cache_creation_input_tokens": 70})
    assert (later.usage.cache_write_5m_tokens, later.usage.cache_write_1h_tokens) == (0, 70)
    split = {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 30}
    own = bill(start, {"output_tokens": 9, "cache_creation_input_tokens": 70, "cache_creation": split})
    assert (own.usage.cache_write_5m_tokens, own.usage.cache_write_1h_tokens) == (40, 30)
    assert not later.doubts
    assert not own.doubts


def test_the_larger_of_top_level_and_iterations_counts() -> None:
    row = {"type": "message", "input_tokens": 60, "output_tokens": 30}
    assert bill({**TOLD, "iterations": [row]}).usage.total == 130
    assert bill({**TOLD, "iterations": [row, row]}).usage.total == 180


def test_regions_speeds_and_other_models_have_their_price() -> None:
    book, usage = PriceBook(), Usage(1000, 1000, 1000, 1000, 1000)
    plain = book.cost(MODEL, usage)
    regional = bill({**TOLD, "inference_geo": "us"})
    assert regional.served.regional
    assert book.cost(MODEL, usage, regional.served) == plain * REGIONAL_SURCHARGE
    assert book.cost(MODEL, usage, bill({**TOLD, "inference_geo": "global"}).served) == plain
    fast = bill({**TOLD, "speed": "fast"}).served
    assert book.cost(MODEL, usage, fast) > plain
    assert not book.doubts(MODEL, fast)
    assert book.doubts("claude-sonnet-5-5", fast)  # the tables have no fast price for it
    for tier in ("standard", "priority", "batch"):
        assert book.cost(MODEL, usage, bill({**TOLD, "service_tier": tier}).served) == plain
    cheaper, dearer = ServedTerms(models=("claude-haiku-4-5",)), ServedTerms(models=("claude-opus-4-1",))
    assert book.cost(MODEL, usage, cheaper) == plain
    assert book.cost(MODEL, usage, dearer) == book.cost("claude-opus-4-1", usage) > plain
    assert not book.doubts(MODEL, ServedTerms(models=(f"{MODEL}-20260101",)))
    assert book.doubts(MODEL, ServedTerms(models=("somebody-else",)))
    assert bill(TOLD, model=None).served.models == ("",)
    assert book.doubts(MODEL, ServedTerms(models=("",)))


def test_a_bedrock_reply_by_its_plain_name_is_the_same_model() -> None:
    asked = "us.anthropic.claude-opus-5-5-v1:0"
    assert not PriceBook().doubts(asked, ServedTerms(models=("claude-opus-5-5-20260101",)))
    usage = Usage(10**6)
    assert PriceBook().cost(asked, usage, ServedTerms(models=("claude-opus-5-5",))) == PriceBook().cost(asked, usage)


def test_worst_cases_include_a_region_that_nobody_asked_for() -> None:
    book = PriceBook()
    dearest = Usage(cache_write_1h_tokens=5000, output_tokens=1000)
    assert book.worst_case(MODEL, 5000, 1000) >= book.cost(MODEL, dearest, ServedTerms(regional=True))


_FIGURE = st.one_of(
    st.none(), st.integers(-5, 4000), st.floats(), st.text(max_size=2), st.booleans(), st.just([]), st.just({})
)
_SPLIT = st.one_of(
    _FIGURE,
    st.fixed_dictionaries({}, optional={"ephemeral_5m_input_tokens": _FIGURE, "ephemeral_1h_input_tokens": _FIGURE}),
)
_PASS: dict[str, Any] = {
    "input_tokens": _FIGURE,
    "cache_creation_input_tokens": _FIGURE,
    "cache_read_input_tokens": _FIGURE,
    "output_tokens": _FIGURE,
    "cache_creation": _SPLIT,
}
_USAGE = st.one_of(
    st.none(),
    st.text(max_size=2),
    st.fixed_dictionaries(
        {},
        optional={
            **_PASS,
            "iterations": st.one_of(_FIGURE, st.lists(st.fixed_dictionaries({}, optional=_PASS), max_size=3)),
            "server_tool_use": st.one_of(_FIGURE, st.fixed_dictionaries({"web_search_requests": _FIGURE})),
            "inference_geo": st.sampled_from(["us", "global", None, 3, "moon"]),
            "speed": st.sampled_from(["fast", "standard", None]),
            "service_tier": st.sampled_from(["standard", "batch", None, "express"]),
        },
    ),
)


def _least(usage: Usage, served: ServedTerms) -> Decimal:
    """What it costs at the least: the end may say that what was written to the cache lives shorter than it seemed."""
    written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
    return PriceBook().cost(MODEL, replace(usage, cache_write_5m_tokens=written, cache_write_1h_tokens=0), served)


@settings(deadline=None)
@given(st.lists(_USAGE, min_size=1, max_size=4), st.booleans())
def test_what_a_reply_costs_never_falls_while_it_comes_in(told: list[Any], content: bool) -> None:
    seen, before, worst = ReportedUsage(), Decimal(0), Usage(cache_write_1h_tokens=8000)
    for each in told:
        seen.take(each, last=False)
        broken = seen.bill_partial(worst, called=MODEL, model=MODEL)
        known = _least(reading.parse_usage(seen.figures), broken.served)
        assert known >= before
        assert PriceBook().cost(MODEL, broken.usage, broken.served) >= known
        before = known
    whole = seen.bill(called=MODEL, model=MODEL, content=content)
    assert PriceBook().cost(MODEL, whole.usage, whole.served) >= before
    assert min(getattr(whole.usage, kind) for kind in Usage.__slots__) >= 0
    if not whole.usage.prompt_tokens or (content and not whole.usage.output_tokens):
        assert whole.doubts


@pytest.mark.anyio
async def test_whatever_is_reported_no_limit_is_overshot_and_no_bill_is_below_what_was_told(
    open_ledger: Callable[..., Ledger], db: Database
) -> None:
    """A service that bills within the bounds of what it was asked, and reports anything of it."""
    dice = random.Random(11)
    limits = Limits(usd=Decimal("1.5"))
    ledger = open_ledger(limits)
    spent = Decimal(0)
    shapes = [lambda n: n, lambda n: None, lambda n: 0, lambda n: -n, lambda n: n + 0.5, str, lambda n: n // 2]
    for number in range(120):
        prompt, output = dice.randint(1, 4000), dice.randint(1, 900)
        served = dice.choice([{}, {"inference_geo": "us"}])
        true = PriceBook().cost(MODEL, Usage(prompt, output_tokens=output), ServedTerms(regional=bool(served)))
        start = {"input_tokens": dice.choice(shapes)(prompt), "output_tokens": 1, **served}
        # What is reported may be anything, but for a smaller figure that looks right in every respect.
        honest = start["input_tokens"] == prompt
        end = {"output_tokens": output if dice.random() < 0.5 else dice.choice([None, 0, -1, 0.5])}
        if not honest and start["input_tokens"] == prompt // 2:
            end["input_tokens"] = prompt
        try:
            await ledger.reserve(WorstCase("model", MODEL, 4000, 900), f"q{number}", None)
        except LimitReached:
            break
        before = ledger.committed().usd
        with db.writing() as session:
            settled = ledger.settle_in(session, f"q{number}", bill(start, end), 1.0)
        assert settled >= true
        assert ledger.committed().usd <= before
        spent += settled
        assert spent == ledger.committed().usd <= limits.usd
    assert number > 5
