"""Replacement of characters that JSON encoders or databases reject."""

from __future__ import annotations


def repair_surrogates(text: str) -> str:
    """Join pairs of surrogates and replace single ones, which UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def make_storable(text: str) -> str:
    """Return the text in whole characters, without NULs.

    PostgreSQL does not store NULs.
    """
    return repair_surrogates(text).replace("\0", "\ufffd")
