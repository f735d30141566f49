"""The number that a problem climbs, if the problem can still be found."""

from __future__ import annotations

from functools import lru_cache

from aar.errors import AarError
from aar.problems.protocol import Metric
from aar.problems.registry import find_problem


@lru_cache(maxsize=32)
def find_metric(problem: str) -> Metric | None:
    """The metric of a problem by name or path; None where it is not installed here (any more)."""
    try:
        return find_problem(problem).metric
    except AarError:
        return None
