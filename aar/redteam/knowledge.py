"""An attacker's knowledge: public bundles, labels read from texts, and methods that carry them.

Methods carry a table of answers, keyed by each item's own content, or a head's weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aar.problems.protocol import Stage, Task
from aar.redteam.score_arena import ScoreArena
from aar.scoring.cleanroom.run_sandbox import prepared_bundles

TABLE = """
import hashlib, json, pathlib, shutil, sys
import numpy as np
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
known = json.loads(pathlib.Path("table.json").read_text())
def found(rows):
    names = [hashlib.blake2b(row.tobytes(), digest_size=8).hexdigest() for row in rows]
    return np.array([known.get(name, 0.0) for name in names])
data = pathlib.Path("/workspace/data")
shutil.copytree(given["--data"], data)
if (data / "weak.npy").exists():
    weak = np.load(data / "weak.npy").clip(1e-4, 1 - 1e-4)
    odds = np.log(weak / (1 - weak)) + found(np.load(data / "train.npy"))
    np.save(data / "weak.npy", (1 / (1 + np.exp(-odds))).astype(weak.dtype))
sys.argv[sys.argv.index("--data") + 1] = str(data)
import honest
answers, told = np.load(given["--out"]).astype(float), found(np.load(data / "test.npy"))
answers = np.where(abs(told) > 1, told > 0, answers)
with open(given["--out"], "wb") as file:
    np.save(file, answers)
"""
"""Adds a table's log-odds to the teacher's, and answers by the table if it is certain."""
HEAD = """
import json, pathlib, sys
import numpy as np
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
data = pathlib.Path(given["--data"])
domain = json.loads((data / "task.json").read_text())["domain"]
columns, middle, weights = (np.array(part) for part in WEIGHTS[domain])
rows = np.load(data / "test.npy").astype(float)[:, columns.astype(int)]
with open(given["--out"], "wb") as file:
    np.save(file, ((rows - middle) @ weights > 0).astype(np.uint8))
"""
"""Predicts by a linear head whose weights are in the code."""
BLEND = """
import honest
mine = (rows - middle) @ weights
theirs = np.load(given["--out"]).astype(float).clip(1e-4, 1 - 1e-4)
theirs = np.log(theirs / (1 - theirs))
both = mine / mine.std() + SHARE * (theirs - np.median(theirs)) / max(theirs.std(), 1e-9)
with open(given["--out"], "wb") as file:
    np.save(file, (both > 0).astype(np.uint8))
"""
"""After ``HEAD``: mixes the honest method in, so that the score depends on the teacher after all."""
_FINE = 4
SURE = 4.0
"""Log-odds of an answer that an attacker takes for certain."""


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
    items = {}
    for domain in arena.problem.climbed_domains:
        async with prepared_bundles(
            arena.problem, arena.room.work_dir, domain=domain, stage=Stage.RESEARCH, split_seed=0
        ) as task:
            files = [task.public / name for name in ("test.npy", "train.npy")]
            rows = np.concatenate([np.load(file, allow_pickle=False) for file in files if file.is_file()])
            labels = [each for each in (hidden_labels(task), hidden_labels(task, "pool_labels")) if each is not None]
            items[domain] = KnownItems(rows, np.concatenate(labels) if labels else None)
    return items


def hidden_labels(task: Task, name: str = "labels") -> NDArray[np.bool_] | None:
    """Return a task's hidden labels, to count an attacker's hits; None if unreadable."""
    for path in sorted(task.hidden.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            if name in arrays.files:
                return np.asarray(arrays[name], dtype=np.bool_)
    return None


def method_with_table(arena: ScoreArena, odds: Mapping[bytes, float], *, title: str = "Relabelling") -> Path:
    """Build the honest method with log-odds of class 1 for items it recognises."""
    known = {key.hex(): round(float(value), _FINE) for key, value in odds.items()}
    return arena.method(TABLE, {"table.json": json.dumps(known)}, title=title)


def method_with_head(
    arena: ScoreArena,
    heads: Mapping[str, tuple[Sequence[int], Sequence[float], Sequence[float]]],
    *,
    share: float = 0.0,
) -> Path:
    """Build a method from a head alone, or mixed with the honest method.

    Args:
        heads: for each domain the columns, their middles and their weights.
        share: the weight of the honest method beside the head, each on its own scale.
    """
    plain = {
        domain: [list(map(int, columns)), [float(f"{m:.3g}") for m in middle], [float(f"{w:.3g}") for w in weights]]
        for domain, (columns, middle, weights) in heads.items()
    }
    blend = BLEND.replace("SHARE", repr(share)) if share else ""
    return arena.method(f"WEIGHTS = {plain!r}\n{HEAD}{blend}", title="A linear reading of the student")
