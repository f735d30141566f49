"""Splits text into search words, as both databases split indexed text.

A word is a run of letters and digits, without accents: ``train_step.py`` is three words and ``0.97`` two. SQLite's
tokenizer splits this way by itself; for PostgreSQL, migration 0011 splits the text before it is indexed, by the same
rule.
"""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")
_LONGEST = 500
"""Letters of a word; PostgreSQL indexes none over 2,046 bytes."""


def strip_accents(text: str) -> str:
    """Remove accents and other marks from letters of the Latin alphabet."""
    return text.translate(_PLAIN)


def split_words(text: str) -> list[str]:
    """Return the words of a text, in order."""
    return [word for word in _WORD.findall(strip_accents(text)) if len(word) <= _LONGEST]


def _plain_letters() -> dict[int, str | None]:
    found: dict[int, str | None] = dict.fromkeys(range(0x300, 0x370))
    for point in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):
        base = unicodedata.normalize("NFD", chr(point))[0]
        if base != chr(point) and base.isascii():
            found[point] = base
    return found


_PLAIN = _plain_letters()
