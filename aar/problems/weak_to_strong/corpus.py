"""The shipped data, read once a process."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import yaml
from numpy.typing import NDArray

from aar.errors import DataMissing
from aar.settings import get_settings

DATA = Path(__file__).parent / "data"
_REMEDY = "Reinstall aar, or rebuild with `python -m aar.problems.weak_to_strong.builder --out DIR`"


@dataclass(frozen=True, slots=True)
class Corpus:
    """One domain, rows in their fixed order.

    Args:
        states: the student's states: float16 [n, d].
        teacher: the weak teacher's features: float32 [n, 64].
        labels: true labels: uint8 [n].
        prompts: class prompts in the states' space: float16 [2, phrasings, d].
        classes: names of class 0 and 1.
        phrasings: the prompts' wording.
        layers: layer number to its (start, stop) columns.
        texts: the texts; None where they are not installed.
    """

    states: NDArray[np.float16]
    teacher: NDArray[np.float32]
    labels: NDArray[np.uint8]
    prompts: NDArray[np.float16]
    classes: tuple[str, str]
    phrasings: tuple[tuple[str, ...], tuple[str, ...]]
    layers: dict[int, tuple[int, int]]
    texts: tuple[str, ...] | None


@lru_cache(maxsize=1)
def load_manifest() -> dict[str, Any]:
    """Read ``data/manifest.yaml``. Raises DataMissing."""
    path = DATA / "manifest.yaml"
    if not path.is_file():
        raise DataMissing(f"the data of weak_to_strong is absent: no {path}", _REMEDY)
    loaded: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


def verify_files() -> None:
    """Compare every shipped file with its recorded SHA-256. Raises DataMissing."""
    for name, digest in load_manifest()["files"].items():
        path = DATA / name
        if not path.is_file():
            raise DataMissing(f"a data file of weak_to_strong is absent: {path}", _REMEDY)
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise DataMissing(f"a data file of weak_to_strong is damaged: {path}", _REMEDY)


def fetched_texts_folder() -> Path:
    """Return the folder for fetched texts, which may not ship."""
    return get_settings().home / "problems" / "weak_to_strong"


@lru_cache(maxsize=8)
def load_corpus(domain: str) -> Corpus:
    """Load all data of one domain. Raises DataMissing."""
    about = load_manifest()
    entry = about["domains"][domain]
    path = DATA / f"{domain}.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            states, teacher = arrays["states"], arrays["teacher"]
            labels, prompts = arrays["labels"], arrays["prompts"]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DataMissing(f"cannot read {path}: {error}", _REMEDY) from error
    step, kept = np.float32(about["step"]), int(about["kept"])
    return Corpus(
        states=np.ascontiguousarray(states.T).astype(np.float16) * np.float16(step),
        teacher=np.ascontiguousarray(teacher.T).astype(np.float32) * step,
        labels=labels,
        prompts=prompts,
        classes=(entry["classes"][0], entry["classes"][1]),
        phrasings=(tuple(entry["prompts"][0]), tuple(entry["prompts"][1])),
        layers={layer: (place * kept, (place + 1) * kept) for place, layer in enumerate(about["layers"])},
        texts=_texts(domain, entry["texts_sha256"]),
    )


def _texts(domain: str, digest: str) -> tuple[str, ...] | None:
    for folder in (DATA, fetched_texts_folder()):
        path = folder / f"{domain}.texts.json.gz"
        if path.is_file():
            texts: list[str] = json.loads(gzip.decompress(path.read_bytes()))
            if hashlib.sha256("\n".join(texts).encode()).hexdigest() != digest:
                raise DataMissing(f"{path} does not belong to the installed arrays", "Remove it and fetch it again")
            return tuple(texts)
    return None
