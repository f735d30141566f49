"""What an attacker can know without asking: the public research bundles, and, reading texts, most of their labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aar.problems.protocol import Stage, Task
from aar.scoring.bundles import prepared
from aar.testing.attacks.arena import Arena


async def public_rows(arena: Arena) -> dict[str, NDArray[np.float16]]:
    """By domain, the rows that stand in a researcher's ``/data``: to train on, and to predict."""
    found = {}
    for domain in arena.problem.climbed_domains:
        async with prepared(
            arena.problem, arena.room.work_dir, domain=domain, stage=Stage.RESEARCH, split_seed=0
        ) as task:
            files = [task.public / name for name in ("test.npy", "train.npy")]
            found[domain] = np.concatenate([np.load(file, allow_pickle=False) for file in files if file.is_file()])
    return found


def truth_of(task: Task) -> NDArray[np.bool_] | None:
    """A task's hidden labels, for a harness that counts what an attacker got right; None where it cannot read them."""
    for path in sorted(task.hidden.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            if "labels" in arrays.files:
                return np.asarray(arrays["labels"], dtype=np.bool_)
    return None
