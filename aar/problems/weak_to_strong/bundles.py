"""Public and hidden bundles of a split, and the coordinates that their states are written in.

The student's states are rotated at random, differently in every split, so that nothing learnt about one split's columns
is valid in another. Lengths, angles and principal components stay as they are, and so does every method that works with
those. Weights for single columns, and rows recognised by their content, are valid in the split that they were made on
and in no other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aar.problems.protocol import Stage, Task
from aar.problems.weak_to_strong.corpus import Corpus
from aar.problems.weak_to_strong.splits import (
    STAGE_KEYS,
    Split,
    StudentStates,
    Supervision,
    readable_rows,
    use_one_blas_thread,
)

WEAK_FILE = "weak.npy"
TEXTS_FILE = "texts.json"
PUBLIC_FILES = frozenset({"task.json", "train.npy", WEAK_FILE, "test.npy", "prompts.npy"})
HIDDEN_FILE = "hidden.npz"
_PURPOSE = 0x7475726E
"""Separates these draws from those of a split's rows."""
RESEARCH_SPLIT = 0
"""Split seed of the bundles that researchers have at ``/data``, whose coordinates are the only ones they can know."""


def public_files(stage: Stage) -> frozenset[str]:
    """Return names of the files that a public bundle may contain.

    Texts are for study, and in no bundle that is scored.
    """
    return PUBLIC_FILES | {TEXTS_FILE} if stage is Stage.RESEARCH else PUBLIC_FILES


def write_public(
    task: Task, data: Corpus, split: Split, states: StudentStates, frame: CoordinateFrame, weak: NDArray[np.float32]
) -> None:
    """Write the public bundle, readable by any user.

    The sandbox's user is a different one.
    """
    folder = task.public
    folder.mkdir(parents=True, exist_ok=True)
    write_states(folder, states, frame)
    write_weak(folder, weak)
    texts = data.texts if task.stage is Stage.RESEARCH else None
    about = {
        "problem": "weak_to_strong",
        "domain": task.domain,
        "classes": list(data.classes),
        "train_items": len(split.pool),
        "test_items": len(split.test),
        "dimensions": int(data.states.shape[1]),
        "layers": {str(layer): list(columns) for layer, columns in data.layers.items()},
        "phrasings": [list(phrasings) for phrasings in data.phrasings],
        "texts": texts is not None,
    }
    (folder / "task.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    if texts is not None:
        shown = readable_rows(task.domain)
        in_order = {"train": [texts[row] if row in shown else None for row in split.pool.tolist()]}
        (folder / TEXTS_FILE).write_text(json.dumps(in_order, ensure_ascii=False), encoding="utf-8")
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)


def write_states(folder: Path, states: StudentStates, frame: CoordinateFrame) -> None:
    """Write the student's states of a public bundle in a frame's coordinates.

    Replaces existing content.
    """
    _save(folder / "train.npy", frame.write(states.pool))
    _save(folder / "test.npy", frame.write(states.test))
    _save(folder / "prompts.npy", frame.write(states.prompts))


def read_weak(folder: Path) -> NDArray[np.float32]:
    """Return the weak labels of a public bundle: P(class 1) on the pool, float32 [n]."""
    weak: NDArray[np.float32] = np.load(folder / WEAK_FILE, allow_pickle=False)
    return weak


def write_weak(folder: Path, weak: NDArray[np.float32]) -> None:
    """Write the weak labels of a public bundle. Replaces existing content."""
    _save(folder / WEAK_FILE, weak)


def write_hidden(folder: Path, data: Corpus, split: Split, supervision: Supervision) -> None:
    """Write the labels and the correctness of teacher and ceiling, readable by the owner alone."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    path = folder / HIDDEN_FILE
    np.savez(
        path,
        labels=data.labels[split.test],
        pool_labels=data.labels[split.pool],
        weak_right=supervision.weak_right,
        ceiling_right=supervision.ceiling_right,
        test_universe=np.int64(split.test_universe),
        test_rows=split.test,
    )
    path.chmod(0o600)


def read_hidden(folder: Path) -> dict[str, NDArray[Any]]:
    """Read the file written by ``write_hidden``."""
    with np.load(folder / HIDDEN_FILE, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


@dataclass(frozen=True, slots=True)
class CoordinateFrame:
    """The coordinates of one split: an orthogonal matrix for the columns of each layer.

    Args:
        turns: by the (start, stop) columns of a layer, float32 [width, width].
    """

    turns: Mapping[tuple[int, int], NDArray[np.float32]]

    def write(self, states: NDArray[np.float32]) -> NDArray[np.float16]:
        """Return states [..., d] in these coordinates.

        Rounding to float16 moves a number by 0.0001 or less.
        """
        turned = np.empty(states.shape, dtype=np.float16)
        for (start, stop), turn in self.turns.items():
            turned[..., start:stop] = states[..., start:stop] @ turn
        return turned


def draw_coordinates(
    domain: str, stage: Stage, split_seed: int, layers: Mapping[int, tuple[int, int]]
) -> CoordinateFrame:
    """Draw the coordinates of a split, uniformly among rotations and reflections.

    Each layer has its own draw (Mezzadri 2007).
    """
    use_one_blas_thread()
    rng = np.random.default_rng([_PURPOSE, STAGE_KEYS[stage], split_seed & (2**64 - 1), *domain.encode()])
    turns = {}
    for start, stop in layers.values():
        orthogonal, upper = np.linalg.qr(rng.standard_normal((stop - start, stop - start)))
        turns[start, stop] = (orthogonal * np.sign(np.diag(upper))).astype(np.float32)
    return CoordinateFrame(turns)
