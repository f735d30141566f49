"""Download of the texts that do not ship, at a person's request."""

from __future__ import annotations

from pathlib import Path

from aar.errors import DataMissing
from aar.problems.weak_to_strong.builder.assemble import texts_digest, write_texts
from aar.problems.weak_to_strong.builder.sources import Progress
from aar.problems.weak_to_strong.builder.texts import sarcasm_texts
from aar.problems.weak_to_strong.corpus import load_manifest


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
