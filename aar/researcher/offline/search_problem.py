"""Finds a problem's components by the problem's name in the system prompt."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from aar.errors import NotFound
from aar.problems.registry import find_problem
from aar.problems.search_space import SearchableProblem, SearchSpace


@dataclass(frozen=True, slots=True)
class SearchProblem:
    """A problem's components, and the direction of its metric.

    The direction is 1 if higher is better, and -1 if lower is.
    """

    repertoire: SearchSpace
    sign: int


@lru_cache(maxsize=16)
def find_search_problem(problem: str) -> SearchProblem | None:
    """Return the search problem registered as ``problem``; None without a repertoire or registration.

    Raises:
        ProblemError: the problem cannot be loaded.
    """
    try:
        found = find_problem(problem)
    except NotFound:
        return None
    if not isinstance(found, SearchableProblem):
        return None
    return SearchProblem(found.repertoire(), 1 if found.metric.higher_is_better else -1)
