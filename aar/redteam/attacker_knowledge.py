"""Collects an attacker's knowledge: public research bundles and labels read from texts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aar.problems.protocol import Stage, Task
from aar.redteam.score_arena import ScoreArena
from aar.scoring.cleanroom.run_sandbox import prepared_bundles


@dataclass(frozen=True, slots=True)
class KnownItems:
    """Items of one domain as researchers have them.

    Args:
        rows: as in the research bundle: [n, d].
        labels: the true ones, as a perfect reader of the texts would know them. None if the harness itself does not
            know them.
    """

    rows: NDArray[np.float16]
    labels: NDArray[np.bool_] | None

    def labelled_rows(self) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """Return the rows with known labels, and the labels."""
        if self.labels is None:
            return self.rows[:0], np.zeros(0, dtype=np.bool_)
        return self.rows[: len(self.labels)], self.labels


async def public_items(arena: ScoreArena) -> dict[str, KnownItems]:
    """Return the items of a researcher's ``/data`` by domain.

    First the items to predict, then those to train on.
    """
    found = {}
    for domain in arena.problem.climbed_domains:
        async with prepared_bundles(
            arena.problem, arena.room.work_dir, domain=domain, stage=Stage.RESEARCH, split_seed=0
        ) as task:
            files = [task.public / name for name in ("test.npy", "train.npy")]
            rows = np.concatenate([np.load(file, allow_pickle=False) for file in files if file.is_file()])
            labels = [each for each in (hidden_labels(task), hidden_labels(task, "pool_labels")) if each is not None]
            found[domain] = KnownItems(rows, np.concatenate(labels) if labels else None)
    return found


def hidden_labels(task: Task, name: str = "labels") -> NDArray[np.bool_] | None:
    """Return a task's hidden labels, to count an attacker's hits; None if unreadable."""
    for path in sorted(task.hidden.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            if name in arrays.files:
                return np.asarray(arrays[name], dtype=np.bool_)
    return None
