import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.cli.output.printing import to_json_value
from aar.readmodels.formatting import (
    TEMPLATE_FILTERS,
    format_ago,
    format_duration,
    format_money,
    format_score,
    format_short_count,
    format_signed,
    typeset_score,
)
from aar.text import clean_line, clean_text

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@given(st.text())
def test_nothing_unsafe_passes(text: str) -> None:
    assert not _UNSAFE.search(clean_text(text))
    assert "\n" not in clean_line(text)


@pytest.mark.parametrize("text", ["\x1b]0;owned\x07", "\x1b[2J\x1b[H", "\x9b31m", "a\rb", "\u202egnp.exe"])
def test_escapes_become_visible(text: str) -> None:
    assert "\x1b" not in clean_line(text)
    assert clean_line(text).isprintable()


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (None, "–"),
        (Decimal(0), "$0.00"),
        (Decimal("0.0001"), "$0.01"),
        (Decimal("1234.561"), "$1,234.57"),
        (Decimal("22"), "$22.00"),
    ],
)
def test_money_never_looks_smaller_than_it_is(usd: Decimal | None, shown: str) -> None:
    assert format_money(usd) == shown


def test_pages_show_the_digits_of_sums_below_a_cent() -> None:
    money = TEMPLATE_FILTERS["money"]
    shown = [money(Decimal(usd)) for usd in ("0", "0.00012", "0.01", "1234.561")]
    assert shown == ["$0.00", "$0.0002", "$0.01", "$1,234.57"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (7500, "2 h 05 min")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0"), (812, "812"), (12_345, "12.3k"), (4_560_000, "4.56M"), (812_000, "812k")]
)
def test_counts(number: int, shown: str) -> None:
    assert format_short_count(number) == shown


def test_small_things() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert format_ago(at, at + timedelta(seconds=70)) == "1 min 10 s ago"
    assert (format_score(None), format_score(0.314), format_score(0.314, 0.02)) == ("–", "0.31", "0.31 ± 0.02")
    assert (typeset_score(None), typeset_score(-0.314)) == ("–", "−0.31")
    assert (format_signed(3), format_signed(-1), format_signed(0)) == ("+3", "-1", "0")
    assert to_json_value({"at": at, "usd": Decimal("1E+2"), "many": (1, None)}) == {
        "at": "2026-01-01T00:00:00+00:00",
        "usd": "100",
        "many": [1, None],
    }
