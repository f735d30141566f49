"""The default problem without per-split coordinates, as in version 1.

Attacks and audits are tried on it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aar.problems.protocol import Stage, Task
from aar.problems.weak_to_strong import WeakToStrong, bundles, corpus, splits
from aar.problems.weak_to_strong.bundles import CoordinateFrame, draw_coordinates
from aar.problems.weak_to_strong.splits import take_states


class PrincipalAxes(WeakToStrong):
    """The default problem with every split on the student's principal axes.

    A change of coordinates draws others.
    """

    version = 1

    def prepare(self, domain: str, stage: Stage, split_seed: int, into: Path) -> Task:
        """Prepare the same rows, labels and teacher as the default problem.

        The bundles are as version 1 wrote them.
        """
        task = super().prepare(domain, stage, split_seed, into)
        write_principal_axes(task)
        return task

    def change_coordinates(self, task: Task, seed: int) -> None:
        """Turn each layer at random, drawn by the seed."""
        data = corpus.load_corpus(task.domain)
        drawn = splits.draw_split(task.domain, task.stage, task.split_seed, len(data.labels))
        bundles.write_states(
            task.public, take_states(data, drawn), draw_coordinates(task.domain, task.stage, seed, data.layers)
        )


def write_principal_axes(task: Task) -> None:
    """Write a task's states as shipped, on the student's principal axes."""
    data = corpus.load_corpus(task.domain)
    plain = CoordinateFrame(
        {columns: np.eye(columns[1] - columns[0], dtype=np.float32) for columns in data.layers.values()}
    )
    drawn = splits.draw_split(task.domain, task.stage, task.split_seed, len(data.labels))
    bundles.write_states(task.public, take_states(data, drawn), plain)
