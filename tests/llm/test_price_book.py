from decimal import Decimal

import pytest
from genai_prices import Usage as LibraryUsage
from genai_prices import calc_price
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.errors import SpecError
from aar.llm.price_book import ModelPrice, PriceBook
from aar.llm.usage import Usage

_tokens = st.integers(0, 400_000)


def test_opus_costs_what_is_published() -> None:
    price = PriceBook().price("claude-opus-5-5")
    assert (price.input, price.output, price.cache_read) == (4, 20, Decimal("0.2"))
    assert (price.cache_write_5m, price.cache_write_1h, price.web_search_per_1000) == (5, 8, 10)
    usage = Usage(input_tokens=1000, cache_read_tokens=100_000, output_tokens=500, server_tool_uses=2)
    assert PriceBook().cost("claude-opus-5-5", usage) == Decimal("0.004") + Decimal("0.02") + Decimal("0.01") + Decimal(
        "0.02"
    )


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-haiku-5-5", "claude-sonnet-4-5", "claude-opus-4-6"])
@settings(max_examples=25, deadline=None)
@given(fresh=_tokens, short=_tokens, long=_tokens, read=_tokens, out=_tokens)
def test_costs_agree_with_the_library(model: str, fresh: int, short: int, long: int, read: int, out: int) -> None:
    theirs = calc_price(
        LibraryUsage(
            input_tokens=fresh + short + long + read,
            cache_write_tokens=short + long,
            cache_write_1h_tokens=long,
            cache_read_tokens=read,
            output_tokens=out,
        ),
        model,
        provider_id="anthropic",
    ).total_price
    ours = PriceBook().cost(model, Usage(fresh, short, long, read, out))
    assert 0 <= ours - theirs <= Decimal("1e-9")


@settings(max_examples=100, deadline=None)
@given(
    model=st.sampled_from(["claude-opus-5-5", "claude-haiku-5-5", "eu.anthropic.claude-haiku-5-5", "claude-2"]),
    fresh=_tokens,
    short=_tokens,
    long=_tokens,
    read=_tokens,
    out=_tokens,
    slack=st.integers(0, 1000),
)
def test_no_call_within_its_bounds_costs_more_than_its_worst_case(
    model: str, fresh: int, short: int, long: int, read: int, out: int, slack: int
) -> None:
    book, usage = PriceBook(), Usage(fresh, short, long, read, out)
    assert book.cost(model, usage) <= book.worst_case(model, usage.prompt_tokens + slack, out + slack)


def test_the_long_prompt_tier_starts_past_its_threshold() -> None:
    book = PriceBook()
    at, past = Usage(input_tokens=100_000), Usage(input_tokens=100_001)
    assert book.cost("claude-haiku-5-5", at) == Decimal("0.01")
    assert book.cost("claude-haiku-5-5", past) == Decimal("0.0500005")
    assert book.price("claude-haiku-5-5", 100_001).output == 5 * book.price("claude-haiku-5-5", 100_000).output
    two_passes = Usage(input_tokens=120_000, largest_prompt=60_000)
    assert book.cost("claude-haiku-5-5", two_passes) == Decimal("0.012")


@pytest.mark.parametrize(
    ("model", "input_price"),
    [
        ("claude-opus-5-5@20260909", "4"),
        ("claude-opus-5-5@default", "4"),
        ("claude-opus-5-5-20260909", "4"),
        ("global.anthropic.claude-opus-5-5", "4"),
        ("us.anthropic.claude-opus-5-5-20260909-v1:0", "4.4"),
        ("apac.anthropic.claude-opus-5-5", "4.4"),
        ("anthropic.claude-opus-5-5", "4.4"),
        ("us-gov.anthropic.claude-haiku-5-5", "0.11"),
    ],
)
def test_cloud_spellings_are_priced(model: str, input_price: str) -> None:
    assert PriceBook().price(model).input == Decimal(input_price)


@pytest.mark.parametrize("model", ["claude-mythos-5", "gpt-9", "claude-opus-5-5x", "us.anthropic.claude-nothing-1"])
def test_a_model_without_a_price_is_refused_with_a_remedy(model: str) -> None:
    with pytest.raises(SpecError, match=model) as refused:
        PriceBook().worst_case(model, 1, 1)
    assert "prices:" in refused.value.remedy
    assert model in refused.value.remedy


def test_overrides_win_and_the_offline_baseline_is_free() -> None:
    mine = ModelPrice(Decimal(1), Decimal(2), Decimal(3), Decimal(4), Decimal(5))
    book = PriceBook({"claude-opus-5-5": mine, "mine": mine})
    assert book.price("claude-opus-5-5") == book.price("mine") == mine
    assert book.worst_case("mine", 1_000_000, 1_000_000) == 7
    assert book.cost("offline-search", Usage(10**9, 0, 0, 10**9, 10**9, 99)) == 0


def test_fractions_of_a_nanodollar_round_up() -> None:
    book = PriceBook({"mine": ModelPrice(*(Decimal("0.0001") for _ in range(5)))})
    assert book.cost("mine", Usage(input_tokens=1)) == Decimal("0.000000001")


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-opus-4-8", ""),
        ("claude-opus-4-8-20260101", "claude-opus-4-8"),
        ("claude-opus-4-8@20260101", "claude-opus-4-8"),
        ("offline-search", ""),
        ("claude-of-mine", ""),
        ("of-nobody", ""),
    ],
)
def test_the_model_whose_price_is_taken_is_told(model: str, expected: str) -> None:
    price = ModelPrice(*(Decimal(1) for _ in range(5)))
    assert PriceBook({"claude-of-mine": price}).priced_as(model) == expected
