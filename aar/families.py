"""Idea families, the labels of methods and posts for diversity measurement."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from aar.errors import UsageError

FAMILIES = (
    "self-training",
    "ensemble",
    "distillation",
    "data-filtering",
    "confidence-weighting",
    "loss-function",
    "unsupervised-elicitation",
    "curriculum",
    "model-internals",
    "evolutionary",
    "other",
)
"""The idea families over which the public study measured diversity."""


def normalize_family(word: str) -> str:
    """Return the family that a text names.

    Case does not matter, nor do spaces, hyphens or underscores.

    Raises:
        UsageError: none of ``FAMILIES``; the message lists them.
    """
    name = "-".join(word.lower().replace("_", " ").replace("-", " ").split())
    if name in FAMILIES:
        return name
    near = difflib.get_close_matches(name[:60], FAMILIES, n=1)
    hint = f"did you mean {near[0]}? Known" if near else "known"
    raise UsageError(f"unknown family {word[:60]!r}; {hint}: {', '.join(FAMILIES)}")


def validate_families(words: Iterable[str], most: int) -> list[str]:
    """Return families in their stored form: each once, the leading one first.

    Raises UsageError, also for more than ``most``.
    """
    found = list(dict.fromkeys(normalize_family(word) for word in words))
    if len(found) > most:
        raise UsageError(f"too many families: got {len(found)}, expected at most {most}", "Name the leading ones")
    return found
