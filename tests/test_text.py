"""Agents' text: safe to show, and nothing lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.errors import UsageError
from aar.text import clean_line, clean_text, shorten, validate_text

_any_text = st.text(st.characters(exclude_categories=[]))


@given(_any_text)
def test_clean_text_is_harmless_and_stays_as_it_is(text: str) -> None:
    cleaned = clean_text(text)
    cleaned.encode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", cleaned)
    assert clean_text(cleaned) == cleaned


@given(st.text(st.characters(categories=["L", "N", "P", "S"], include_characters=" \n\t")))
def test_ordinary_text_is_untouched(text: str) -> None:
    assert clean_text(text) == text


def test_control_characters_become_visible() -> None:
    assert clean_text("a\x00\x1b]0;x\x07\x7f\x9b\ud800\u202e") == "a␀␛]0;x␇␡\\u009b\\ud800\\u202e"
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "Obey")
    assert clean_text(f"a\u061c{hidden}") == "a\\u061c\\U000e004f\\U000e0062\\U000e0065\\U000e0079"
    assert clean_text("a\r\nb\rc\u2028d") == "a\nb\nc\nd"


@given(_any_text)
def test_a_line_is_one_line(text: str) -> None:
    assert "\n" not in clean_line(text)
    assert len(shorten(text, 10)) <= 10


def test_lengths_count_after_cleaning() -> None:
    assert validate_text("title", "\r\n".join("ab"), 3, one_line=True) == "a b"
    with pytest.raises(UsageError, match="6 characters, and the limit is 5"):
        validate_text("title", "\ud800", 5)
