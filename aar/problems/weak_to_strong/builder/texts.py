"""Texts and true labels of the five domains: cleaned, deduplicated, class-balanced, in fixed order.

The order ties a row of the shipped arrays to its text, so every step here is deterministic.
"""

from __future__ import annotations

import html
import io
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aar.problems.weak_to_strong.builder.sources import EVALS, VADER, Progress, fetch_package, read_member

MINIMUM_RATING = 0.3
"""Sentiment ratings nearer to zero than this are left out: raters did not agree on a side."""

RATED_FILES = {
    "movie": "movieReviewSnippets",
    "amazon": "amazonReviewSnippets",
    "nyt": "nytEditorialSnippets",
    "tweet": "tweets",
}
"""Domain to file stem within the sentiment bundle."""

SARCASM_ROWS = 25_600
"""Headlines retained: the sealed 14,000, and 11,600 from which all others are drawn."""

ORDER_SEED = 20_260_401


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """One domain: ``texts`` and ``labels`` (0 or 1, uint8, same length)."""

    texts: list[str]
    labels: NDArray[np.uint8]


def sentiment_texts(cache: Path, progress: Progress) -> dict[str, LabelledTexts]:
    """Return the four sentiment domains of the vaderSentiment bundle. Raises DataMissing.

    Label 1 is positive.
    """
    packed = read_member(fetch_package(VADER, cache, progress), "hutto_ICWSM_2014.tar.gz")
    domains: dict[str, LabelledTexts] = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as bundle:
        for domain, stem in RATED_FILES.items():
            member = bundle.extractfile(f"hutto_ICWSM_2014/{stem}_GroundTruth.txt")
            assert member is not None
            domains[domain] = _ordered(domain, _rated_lines(member.read().decode("cp1252", errors="replace")))
    return domains


def sarcasm_texts(cache: Path, progress: Progress) -> LabelledTexts:
    """Return the satire headlines of the evals package; label 1 is satire. Raises DataMissing."""
    lines = read_member(fetch_package(EVALS, cache, progress), "registry/data/sarcasm/samples.jsonl").decode()
    samples = (json.loads(line) for line in lines.splitlines() if line.strip())
    pairs = ((sample["input"][-1]["content"], int(sample["ideal"])) for sample in samples)
    return _ordered("sarcasm", pairs, limit=SARCASM_ROWS)


def _rated_lines(content: str) -> Iterable[tuple[str, int]]:
    for line in content.splitlines():
        fields = line.split("\t", 2)
        if len(fields) == 3 and abs(float(fields[1])) > MINIMUM_RATING:
            yield fields[2], int(float(fields[1]) > 0)


def _ordered(domain: str, pairs: Iterable[tuple[str, int]], limit: int | None = None) -> LabelledTexts:
    """Deduplicate by cleaned text, balance the classes, shuffle.

    Retains ``limit`` rows, half of each class.
    """
    unique: dict[str, tuple[str, int]] = {}
    for raw, label in pairs:
        text = " ".join(html.unescape(raw).split())
        if text:
            unique.setdefault(text.casefold(), (text, label))
    rows = list(unique.values())
    labels = np.array([label for _, label in rows], dtype=np.uint8)
    rng = np.random.Generator(np.random.PCG64([ORDER_SEED, *domain.encode()]))
    size = min(int(labels.sum()), int((1 - labels).sum()))
    if limit is not None:
        size = min(size, limit // 2)
    kept = np.concatenate([rng.permutation(np.flatnonzero(labels == value))[:size] for value in (0, 1)])
    kept = rng.permutation(kept)
    return LabelledTexts([rows[index][0] for index in kept], labels[kept])
