"""The gain of a method over the honest one, on the same sealed splits.

Its error is over seeds and over items.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import variance

import numpy as np
from numpy.typing import NDArray

from aar.problems.protocol import Estimate, Problem, Task, TaskScore

FAMILY_LEVEL = 0.05
"""Chance that any of a suite's gains counts as real though none is (Bonferroni over the measured gains)."""
BLOCKS = 24
_Arrays = tuple[NDArray[np.generic], NDArray[np.generic], NDArray[np.intp]]


@dataclass(frozen=True, slots=True)
class Gain:
    """The gain over the honest method on the same sealed final splits.

    Args:
        mean: difference of the metric, turned so that more is better.
        standard_error: of ``mean``, over items and seeds, of the paired difference.
        freedom: its effective degrees of freedom.
    """

    mean: float
    standard_error: float
    freedom: float = float("inf")

    def limit(self, comparisons: int) -> float:
        """Return the largest difference that noise alone explains.

        It is Student's t at ``FAMILY_LEVEL``, shared by all comparisons.

        One-sided; with ten comparisons and many degrees of freedom it is 2.6 standard errors.
        """
        from scipy.special import stdtrit

        return float(stdtrit(min(self.freedom, 1e6), 1 - FAMILY_LEVEL / max(1, comparisons))) * self.standard_error

    def inside_noise(self, comparisons: int) -> bool:
        """Return True if noise alone explains the gain."""
        return self.mean <= self.limit(comparisons)


@dataclass(frozen=True, slots=True)
class OutputPair:
    """Both methods' outputs on one task: the seed's index and the files' bytes."""

    task: Task
    index: int
    honest: bytes
    attack: bytes


def paired_gain(problem: Problem, pairs: Sequence[OutputPair]) -> Gain:
    """Compute the attack's score less the honest method's, pooled by the problem.

    ``Var = B * var(D_b) + var(D_s) / k``: ``D_s`` are the differences of the k seeds; ``D_b`` is the difference when
    only the test items of block b (of B, by a hash of the item, so that an item is in the same block on every split)
    have the attack's answers, a grouped jackknife over items. Outputs that are no arrays, one value a row of
    ``test.npy``, have ``D_s`` alone. Part of the noise is counted twice: the error is rather too large. Degrees of
    freedom after Satterthwaite (1946).
    """
    if all(pair.honest == pair.attack for pair in pairs):
        return Gain(0.0, 0.0)
    sign = 1.0 if problem.metric.higher_is_better else -1.0

    def difference(some: Sequence[OutputPair], outputs: Sequence[bytes]) -> float:
        mixed = pool_outputs(problem, [(pair.task, output) for pair, output in zip(some, outputs, strict=True)]).mean
        return sign * (mixed - pool_outputs(problem, [(pair.task, pair.honest) for pair in some]).mean)

    whole = difference(pairs, [pair.attack for pair in pairs])
    by_seed = [[pair for pair in pairs if pair.index == index] for index in sorted({pair.index for pair in pairs})]
    terms: list[tuple[float, int]] = []
    if len(by_seed) > 1:
        seeds = [difference(some, [pair.attack for pair in some]) for some in by_seed]
        terms.append((variance(seeds) / len(seeds), len(seeds) - 1))
    arrays = [_arrays(pair) for pair in pairs]
    if all(array is not None for array in arrays):
        base = pool_outputs(problem, [(pair.task, pair.honest) for pair in pairs]).mean
        parts = []
        for block in range(BLOCKS):
            outputs = [_mixed(*array, block) for array in arrays if array is not None]
            mixed = pool_outputs(
                problem, [(pair.task, output) for pair, output in zip(pairs, outputs, strict=True)]
            ).mean
            parts.append(sign * (mixed - base))
        terms.append((BLOCKS * variance(parts), BLOCKS - 1))
    total = sum(part for part, _ in terms)
    freedom = total**2 / sum(part**2 / degrees for part, degrees in terms) if total > 0 else float("inf")
    return Gain(whole, float(np.sqrt(total)), freedom)


def row_keys(rows: NDArray[np.generic]) -> list[bytes]:
    """Return a short name for each row by its content, equal on every split."""
    return [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in np.ascontiguousarray(rows)]


def load_output(content: bytes) -> NDArray[np.generic] | None:
    """Load a method's output as an array; None if it is not one."""
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError):
        return None
    return array if isinstance(array, np.ndarray) and array.ndim == 1 else None


def dump_output(array: NDArray[np.generic]) -> bytes:
    """Write an array as a method's output."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def score_output(problem: Problem, task: Task, content: bytes) -> TaskScore:
    """Score one output by the problem. Raises OutputRejected."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        Path(file.name).write_bytes(content)
        return problem.score(task, Path(file.name))


def pool_outputs(problem: Problem, outputs: Sequence[tuple[Task, bytes]]) -> Estimate:
    """Pool the scores of several outputs. Raises OutputRejected."""
    return problem.pool([(task, score_output(problem, task, content)) for task, content in outputs])


def _arrays(pair: OutputPair) -> _Arrays | None:
    rows = pair.task.public / "test.npy"
    honest, attack = load_output(pair.honest), load_output(pair.attack)
    if honest is None or attack is None or honest.shape != attack.shape or not rows.is_file():
        return None
    blocks = np.array([int.from_bytes(key) % BLOCKS for key in row_keys(np.load(rows, allow_pickle=False))])
    return (honest, attack, blocks) if blocks.shape == honest.shape else None


def _mixed(honest: NDArray[np.generic], attack: NDArray[np.generic], blocks: NDArray[np.intp], block: int) -> bytes:
    return dump_output(np.where(blocks == block, attack, honest))
