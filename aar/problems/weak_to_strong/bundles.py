"""Writes a split's two bundles: what the method sees, and what it never sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aar.problems.weak_to_strong.corpus import Corpus
from aar.problems.weak_to_strong.splits import Split
from aar.problems.weak_to_strong.supervision import Supervision

WEAK_FILE = "weak.npy"
PUBLIC_FILES = frozenset({"task.json", "train.npy", WEAK_FILE, "test.npy", "prompts.npy", "texts.json"})
HIDDEN_FILE = "hidden.npz"


def write_public(folder: Path, domain: str, data: Corpus, split: Split, weak: NDArray[np.float32]) -> None:
    """Write what a method may see; readable by any user, for the sandbox's is another one."""
    folder.mkdir(parents=True, exist_ok=True)
    _save(folder / "train.npy", data.states[split.pool])
    write_weak(folder, weak)
    _save(folder / "test.npy", data.states[split.test])
    _save(folder / "prompts.npy", data.prompts)
    about = {
        "problem": "weak_to_strong",
        "domain": domain,
        "classes": list(data.classes),
        "train_items": len(split.pool),
        "test_items": len(split.test),
        "dimensions": int(data.states.shape[1]),
        "layers": {str(layer): list(columns) for layer, columns in data.layers.items()},
        "phrasings": [list(phrasings) for phrasings in data.phrasings],
        "texts": data.texts is not None,
    }
    (folder / "task.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    if data.texts is not None:
        texts = {"train": [data.texts[row] for row in split.pool], "test": [data.texts[row] for row in split.test]}
        (folder / "texts.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644)


def read_weak(folder: Path) -> NDArray[np.float32]:
    """The weak labels of a public bundle: P(class 1) on the pool, float32 [n]."""
    weak: NDArray[np.float32] = np.load(folder / WEAK_FILE, allow_pickle=False)
    return weak


def write_weak(folder: Path, weak: NDArray[np.float32]) -> None:
    """Write the weak labels of a public bundle, or replace their content."""
    _save(folder / WEAK_FILE, weak)


def write_hidden(folder: Path, data: Corpus, split: Split, supervision: Supervision) -> None:
    """Write the labels and both ends' hits, readable by the owner alone."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    path = folder / HIDDEN_FILE
    np.savez(
        path,
        labels=data.labels[split.test],
        weak_right=supervision.weak_right,
        ceiling_right=supervision.ceiling_right,
        test_universe=np.int64(split.test_universe),
        test_rows=split.test,
    )
    path.chmod(0o600)


def read_hidden(folder: Path) -> dict[str, NDArray[Any]]:
    """What ``write_hidden`` wrote."""
    with np.load(folder / HIDDEN_FILE, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
