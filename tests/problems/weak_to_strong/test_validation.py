"""The problem's own check of itself finds the leaks that it looks for, and damage to the data is named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aar.errors import DataMissing
from aar.problems.protocol import Stage, Task
from aar.problems.registry import find_problem
from aar.problems.weak_to_strong import bundles, corpus, validation


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return find_problem("weak_to_strong").prepare("tweet", Stage.TRANSFER, 1, tmp_path)


def test_a_sound_bundle_has_no_leak(task: Task) -> None:
    assert validation.find_leaks(task) == []


def test_a_stray_file_is_found(task: Task) -> None:
    (task.public / "labels.npy").write_bytes(b"")
    assert validation.find_leaks(task) == ["unexpected public file labels.npy"]


def test_a_column_that_tells_the_label_is_found(task: Task) -> None:
    test = np.load(task.public / "test.npy")
    test[:, 7] = bundles.read_hidden(task.hidden)["labels"] * 0.2
    np.save(task.public / "test.npy", test)
    assert "one column of test.npy separates the labels" in validation.find_leaks(task)[0]


def test_rows_sorted_by_label_are_found(task: Task) -> None:
    hidden = bundles.read_hidden(task.hidden)
    order = np.argsort(hidden["labels"], kind="stable")
    np.save(task.public / "test.npy", np.load(task.public / "test.npy")[order])
    np.savez(task.hidden / bundles.HIDDEN_FILE, **{**hidden, "labels": hidden["labels"][order]})
    assert len([line for line in validation.find_leaks(task) if "standard deviations" in line]) == 2


def test_test_rows_among_the_train_rows_are_found(task: Task) -> None:
    train, test = np.load(task.public / "train.npy"), np.load(task.public / "test.npy")
    test[:200] = train[:200]
    np.save(task.public / "test.npy", test)
    assert "200 rows of test.npy are in train.npy" in validation.find_leaks(task)[0]


@pytest.fixture
def copied_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "data"
    shutil.copytree(corpus.DATA, folder)
    monkeypatch.setattr(corpus, "DATA", folder)
    for cache in (corpus.load_manifest, corpus.load_corpus):
        cache.cache_clear()
    yield folder
    for cache in (corpus.load_manifest, corpus.load_corpus):
        cache.cache_clear()


def test_whole_data_passes(copied_data: Path) -> None:
    find_problem("weak_to_strong").check_data()


def test_an_absent_file_is_named(copied_data: Path) -> None:
    (copied_data / "nyt.npz").unlink()
    with pytest.raises(DataMissing, match=r"absent: .*nyt\.npz"):
        find_problem("weak_to_strong").check_data()
    assert "nyt.npz" in find_problem("weak_to_strong").validate()[0]


def test_a_damaged_file_is_named(copied_data: Path, tmp_path: Path) -> None:
    (copied_data / "nyt.npz").write_bytes((copied_data / "nyt.npz").read_bytes()[:-100])
    with pytest.raises(DataMissing, match=r"damaged: .*nyt\.npz"):
        find_problem("weak_to_strong").check_data()
    with pytest.raises(DataMissing, match=r"nyt\.npz"):
        find_problem("weak_to_strong").prepare("nyt", Stage.TRANSFER, 0, tmp_path / "task")


def test_no_data_at_all_says_how_to_get_it(copied_data: Path) -> None:
    (copied_data / "manifest.yaml").unlink()
    with pytest.raises(DataMissing, match="rebuild with"):
        find_problem("weak_to_strong").check_data()


def test_texts_of_other_rows_are_refused(copied_data: Path, tmp_path: Path) -> None:
    shutil.copy(copied_data / "nyt.texts.json.gz", copied_data / "tweet.texts.json.gz")
    with pytest.raises(DataMissing, match="does not belong"):
        find_problem("weak_to_strong").prepare("tweet", Stage.TRANSFER, 0, tmp_path / "task")


def test_without_texts_a_bundle_is_whole(copied_data: Path, tmp_path: Path) -> None:
    (copied_data / "movie.texts.json.gz").unlink()
    task = find_problem("weak_to_strong").prepare("movie", Stage.RESEARCH, 0, tmp_path / "task")
    assert {path.name for path in task.public.iterdir()} == bundles.PUBLIC_FILES
