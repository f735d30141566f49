"""Label corruption: the parts of ``SupervisedProblem.corrupt`` shared by all problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from aar.errors import ProblemError
from aar.problems.protocol import Corruption, Problem, ReframedProblem, SupervisedProblem, Task


def supports_corruption(problem: Problem, corruption: Corruption) -> bool:
    """Return True if a problem's tasks can be corrupted in this way."""
    return isinstance(problem, ReframedProblem if corruption.coordinates else SupervisedProblem)


def corrupt_labels(problem: Problem, task: Task, corruption: Corruption, seed: int) -> None:
    """Corrupt a task's public bundle in place. CPU-bound.

    Raises:
        ProblemError: the problem does not support it, or several kinds are requested at once.
    """
    if corruption.coordinates and (corruption.permute or corruption.noise):
        raise ProblemError(f"corruption is of several kinds: got {corruption}, expected one", "Request one at a time")
    if corruption.coordinates and isinstance(problem, ReframedProblem):
        problem.change_coordinates(task, seed)
    elif not corruption.coordinates and isinstance(problem, SupervisedProblem):
        problem.corrupt(task, corruption, seed)
    else:
        raise ProblemError(f"problem {problem.name} does not support the corruption {corruption.key!r}")


@dataclass(frozen=True, slots=True)
class LabelCorruption:
    """The corruption of the teacher's labels on items 0 to n - 1.

    Args:
        sources: for each item, the item whose label it gets; its own where nothing is permuted.
        turned: items whose label is inverted, in the order in which more noise would take them.
    """

    sources: Sequence[int]
    turned: Sequence[int]


def draw_label_corruption(task: Task, items: int, corruption: Corruption, seed: int) -> LabelCorruption:
    """Draw the corruption of a task. The same arguments give the same draw.

    A permutation is one random cycle through all items, so none retains its own label. With the same seed, the items
    turned by little noise are among those turned by more, so scores along a noise curve are paired.

    Args:
        task: its domain, stage and split seed go into the draw.
        items: number of items with a teacher label.
        corruption: ``permute`` or ``noise``; not both.
        seed: any integer.

    Raises:
        ProblemError: the share is invalid, or both kinds are requested.
    """
    if not 0 <= corruption.noise <= 1 or (corruption.permute and corruption.noise) or corruption.coordinates:
        raise ProblemError(f"no such corruption: {corruption}", "Permute, or give a share from 0 to 1")
    rng = Random(f"corrupt {task.domain} {task.stage} {task.split_seed} {seed}")  # noqa: S311 - repeatable, no secret
    order = rng.sample(range(items), items)
    if not corruption.permute:
        return LabelCorruption(range(items), order[: round(corruption.noise * items)])
    sources = list(range(items))
    for place, item in enumerate(order):
        sources[item] = order[place - 1]
    return LabelCorruption(sources, ())
