"""What there is to work with on a problem, by the name that the system prompt gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from aar.errors import NotFound
from aar.problems.registry import find_problem
from aar.problems.search_space.protocol import SearchableProblem, SearchSpace


@dataclass(frozen=True, slots=True)
class SearchProblem:
    """A problem's components, and which way its metric is climbed: 1 where higher is better, -1 where lower is."""

    repertoire: SearchSpace
    sign: int


@lru_cache(maxsize=16)
def find_search_problem(problem: str) -> SearchProblem | None:
    """The trade of the problem registered as ``problem``; None where it has no repertoire or is not registered.

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
