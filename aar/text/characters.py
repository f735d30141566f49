"""Characters that no JSON encoder sends and no database stores, replaced by some that they do."""

from __future__ import annotations


def repair_surrogates(text: str) -> str:
    """Return the text with pairs of half characters joined, and single halves, which no UTF-8 text can hold,
    replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def make_storable(text: str) -> str:
    """Return the text in whole characters and without NULs, which PostgreSQL does not store."""
    return repair_surrogates(text).replace("\0", "\ufffd")
