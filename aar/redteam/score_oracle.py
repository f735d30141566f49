"""Simulates the scorer's answers to many submissions, by its own functions.

No sandbox is made for each of them.

The splits are real ones, prepared once and used again, of which every submission meets a few at random. That helps
the attacker: with fresh splits each time it meets more items, and learns less of each. ``compare_with_scorer`` checks
against a real submission.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from aar.problems.protocol import Estimate, Stage
from aar.redteam.direct_runs import PreparedTask
from aar.redteam.gain import dump_output, load_output, pool_outputs, row_keys, score_output
from aar.redteam.score_arena import ScoreArena
from aar.scoring.cleanroom.run_sandbox import prepared_bundles
from aar.scoring.results.disclosure import LOW_SCORE_ALLOWANCE, SURE_STANDARD_ERRORS, is_low
from aar.scoring.submissions import SHOWN_DECIMALS
from aar.store.models import ScoringRun, Submission

Bits = NDArray[np.bool_]
SPLITS = 8
"""Draws that the submissions are spread over."""
MOST = 512
"""Most submissions of one attacker: the number of random bits of an item."""


@dataclass(frozen=True, slots=True)
class ProbedSplit:
    """A measurement's split as an attack uses it.

    Args:
        rows: of ``test.npy``: [n, d].
        honest: the honest method's predictions: bool [n].
        names: the rows' keys, by their content: [n].
        random: bytes that look random, by the rows' content: uint8 [n, 64].
    """

    place: PreparedTask
    rows: NDArray[np.float16]
    honest: Bits
    names: NDArray[np.uint64]
    random: NDArray[np.uint8]

    @property
    def domain(self) -> str:
        """Return the domain of its task."""
        return self.place.task.domain

    def bit(self, index: int) -> Bits:
        """Return one random bit for each row."""
        return np.asarray((self.random[:, index // 8] >> (index % 8)) & 1, dtype=np.bool_)


Answer = Callable[[ProbedSplit], Bits]
"""An attacker's predictions on a split, from the data that a method sees there."""


class ScoreOracle:
    """Answers one researcher, alone in its campaign, with a rounded or withheld score.

    Args:
        arena: gives the problem and the number of seeds of a measurement.
        splits: made by ``make_splits``.
    """

    def __init__(self, arena: ScoreArena, splits: list[ProbedSplit]) -> None:
        self._problem = arena.problem
        self._seeds = arena.seeds
        self._splits = splits
        self._draws = sorted({split.place.index for split in splits})
        self._rng = np.random.default_rng(0)
        self._best: Estimate | None = None
        self._low = 0

    def ask(self, answer: Answer) -> float | None:
        """Return the disclosed score of these predictions; None if it is withheld."""
        draws = set(self._rng.choice(self._draws, size=min(self._seeds, len(self._draws)), replace=False).tolist())
        outputs = [
            (split.place.task, dump_output(answer(split).astype(np.uint8)))
            for split in self._splits
            if split.place.index in draws
        ]
        estimate, metric = pool_outputs(self._problem, outputs), self._problem.metric
        best = None if self._best is None else (self._best.mean, self._best.standard_error)
        low = is_low((estimate.mean, estimate.standard_error), best, metric)
        if self._best is None or (estimate.mean > self._best.mean) == metric.higher_is_better:
            self._best = estimate
        self._low += low
        return None if low and self._low > LOW_SCORE_ALLOWANCE else round(estimate.mean, SHOWN_DECIMALS)

    def number(self, answer: Answer) -> float:
        """Return the disclosed score, or the most that a withheld one can be.

        That is just below the lowest score that would be disclosed.
        """
        score = self.ask(answer)
        if score is not None or self._best is None:
            return score or 0.0
        reach = SURE_STANDARD_ERRORS * math.sqrt(2) * self._best.standard_error
        return self._best.mean - reach if self._problem.metric.higher_is_better else self._best.mean + reach


async def make_splits(arena: ScoreArena, stage: Stage = Stage.MEASURE, count: int = SPLITS) -> list[ProbedSplit]:
    """Prepare splits with the honest method's predictions, from real clean-room runs."""
    places = await arena.runs.places(stage, count)
    outputs = await arena.runs.honest_on(places)
    return [make_split(place, output) for place, output in zip(places, outputs, strict=True)]


async def compare_with_scorer(arena: ScoreArena, source: Path, answer: Answer) -> str:
    """Submit the method for real and compare with ``answer``; empty if equal.

    Args:
        source: a method that predicts what ``answer`` does.
    """
    view = await arena.scored(source)
    with arena.db.reading() as session:
        runs = session.scalars(
            select(ScoringRun)
            .join(Submission, Submission.id == ScoringRun.submission_id)
            .where(Submission.number == view.number, ScoringRun.stage == Stage.MEASURE)
        ).all()
        drawn = [(run.domain, run.seed, run.split_seed) for run in runs]
    outputs = []
    for domain, seed, split_seed in drawn:
        async with prepared_bundles(
            arena.problem, arena.room.work_dir, domain=domain, stage=Stage.MEASURE, split_seed=split_seed
        ) as task:
            place = PreparedTask(task, seed, 0)
            (honest,) = await arena.runs.honest_on([place])
            split = make_split(place, honest)
            content = dump_output(answer(split).astype(np.uint8))
            outputs.append((task, score_output(arena.problem, task, content)))
    foretold = round(arena.problem.pool(outputs).mean, SHOWN_DECIMALS)
    return "" if view.mean == foretold else f"the scorer gave {view.mean}, the oracle {foretold}"


def random_bytes(rows: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return 64 bytes for each row, by its content."""
    digests = b"".join(hashlib.blake2b(row.tobytes()).digest() for row in np.ascontiguousarray(rows))
    return np.frombuffer(digests, dtype=np.uint8).reshape(len(rows), -1)


def row_numbers(rows: NDArray[np.generic]) -> NDArray[np.uint64]:
    """Return the rows' keys as numbers."""
    return np.array([int.from_bytes(key) for key in row_keys(rows)], dtype=np.uint64)


def make_split(place: PreparedTask, output: bytes) -> ProbedSplit:
    """Prepare a split with the honest method's output on it."""
    honest = load_output(output)
    assert honest is not None
    rows = np.load(place.task.public / "test.npy", allow_pickle=False)
    return ProbedSplit(place, rows, np.asarray(honest.astype(float) > 0.5), row_numbers(rows), random_bytes(rows))
