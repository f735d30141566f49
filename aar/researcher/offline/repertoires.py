"""The repertoire of a problem, by the name that the system prompt gives."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import entry_points

from aar.problems.repertoire import HasRepertoire, Repertoire


@lru_cache(maxsize=16)
def repertoire_of(problem: str) -> Repertoire | None:
    """The components of the problem registered as ``problem``; None where it has none or is not registered."""
    for entry in entry_points(group="aar.problems", name=problem):
        found = entry.load()()
        return found.repertoire() if isinstance(found, HasRepertoire) else None
    return None
