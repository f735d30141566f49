"""Finds the metric of a problem, if the problem is installed."""

from __future__ import annotations

from functools import lru_cache

from aar.errors import AarError
from aar.problems.protocol import Metric
from aar.problems.registry import find_problem


@lru_cache(maxsize=32)
def find_metric(problem: str) -> Metric | None:
    """Returns a problem's metric by name or path; None if not installed."""
    try:
        return find_problem(problem).metric
    except AarError:
        return None
