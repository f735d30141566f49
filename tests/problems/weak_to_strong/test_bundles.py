"""Every split has coordinates of its own: what is between items stays, what is known of columns and rows is void."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import KDTree

from aar.errors import ProblemError
from aar.problems.protocol import Corruption, Stage, Task, corrupt_labels, draw_label_corruption, supports_corruption
from aar.problems.toy import Toy
from aar.problems.weak_to_strong import WeakToStrong, bundles
from aar.problems.weak_to_strong.bundles import draw_coordinates
from aar.problems.weak_to_strong.corpus import load_corpus
from aar.problems.weak_to_strong.lab.w2s import Data, load
from aar.problems.weak_to_strong.lab.w2s.data import Array
from aar.redteam.gain import row_keys
from aar.testing.in_process_runs import run_in_process
from aar.testing.principal_axes import PrincipalAxes

PROBLEM = WeakToStrong()
LAYERS = {4: (0, 192), 5: (192, 384), 6: (384, 576)}
CHANGE = Corruption(coordinates=True)


def _keys(task: Task) -> set[bytes]:
    return {key for name in ("train.npy", "test.npy") for key in row_keys(np.load(task.public / name))}


def test_a_frame_is_orthogonal_in_each_layer_and_another_one_for_everything_else() -> None:
    frames = [
        draw_coordinates(domain, stage, seed, LAYERS)
        for domain in ("movie", "sarcasm")
        for stage in (Stage.RESEARCH, Stage.MEASURE, Stage.CONFIRM)
        for seed in (0, 1, 2**63 - 1)
    ]
    turns = [turn for frame in frames for turn in frame.turns.values()]
    for turn in turns:
        assert np.abs(turn.T @ turn - np.eye(192)).max() < 1e-5
    assert len({turn.tobytes() for turn in turns}) == len(turns)
    for turn in turns[1:]:  # no axis is near one of another frame's, as chance has it in 192 dimensions
        assert np.abs(turns[0].T @ turn).max() < 0.5


def test_what_is_between_the_items_stays(tmp_path: Path) -> None:
    """Lengths and angles in each layer, among pool, test and prompts alike, to the precision of the files."""
    turned = load(PROBLEM.prepare("movie", Stage.MEASURE, 3, tmp_path / "turned").public)
    plain = load(PrincipalAxes().prepare("movie", Stage.MEASURE, 3, tmp_path / "plain").public)
    assert np.array_equal(turned.weak, plain.weak)
    for start, stop in LAYERS.values():
        both = []
        for data in (turned, plain):
            rows = np.concatenate([data.train[:300], data.test[:300], data.prompts.reshape(-1, 576)])[:, start:stop]
            both.append(rows @ rows.T)
        assert np.abs(both[0] - both[1]).max() < 1e-3
        assert np.abs(turned.train[:, start:stop] - plain.train[:, start:stop]).max() > 0.1


def test_no_row_is_recognised_on_another_split(tmp_path: Path) -> None:
    research = PROBLEM.prepare("movie", Stage.RESEARCH, 0, tmp_path / "research")
    measured = [PROBLEM.prepare("movie", Stage.MEASURE, seed, tmp_path / str(seed)) for seed in (1, 2)]
    seen = [_keys(task) for task in (research, *measured)]
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]
    before = [_keys(PrincipalAxes().prepare("movie", Stage.MEASURE, seed, tmp_path / f"old{seed}")) for seed in (1, 2)]
    assert len(before[0] & before[1]) > 5000  # of the same rows, which go by their content there


def test_the_audit_asks_in_the_coordinates_that_researchers_have(tmp_path: Path) -> None:
    research = PROBLEM.prepare("movie", Stage.RESEARCH, 0, tmp_path / "research")
    measured = PROBLEM.prepare("movie", Stage.MEASURE, 1, tmp_path / "measured")
    corrupt_labels(PROBLEM, measured, CHANGE, 9)
    assert len(_keys(research) & _keys(measured)) > 5000


def test_texts_are_for_study_alone(tmp_path: Path) -> None:
    for stage, domain, allowed in (
        (Stage.RESEARCH, "movie", True),
        (Stage.MEASURE, "movie", False),
        (Stage.CONFIRM, "movie", False),
        (Stage.TRANSFER, "tweet", False),
    ):
        assert load_corpus(domain).texts is not None
        task = PROBLEM.prepare(domain, stage, 0, tmp_path / stage)
        names = {path.name for path in task.public.iterdir()}
        assert names == bundles.public_files(stage)
        assert (bundles.TEXTS_FILE in names) is allowed
        data = load(task.public)
        assert (data.train_texts is not None) is allowed


def test_no_row_that_is_scored_can_be_read(tmp_path: Path) -> None:
    """Lengths turn with nothing: rows of the research bundle are known again by them, but none whose text it shows."""
    study = load(PROBLEM.prepare("movie", Stage.RESEARCH, 0, tmp_path / "research").public)
    assert study.train_texts is not None
    read = np.array([text is not None for text in study.train_texts])
    for stage in (Stage.MEASURE, Stage.CONFIRM):
        scored = load(PROBLEM.prepare("movie", stage, 1, tmp_path / stage).public)
        again = KDTree(_lengths(scored.train, study)).query(_lengths(study.train, study), distance_upper_bound=3e-4)[0]
        found = np.isfinite(again)
        assert found[~read].mean() > 0.3
        assert found[read].mean() < 0.03


def _lengths(rows: Array, data: Data) -> NDArray[np.float64]:
    return np.stack([np.linalg.norm(rows[:, layer].astype(float), axis=1) for layer in data.layers.values()], axis=1)


def test_baselines_score_as_before(tmp_path: Path) -> None:
    """Paired, on the same split with the same seed; benchmarks/coordinates.py is the long form."""
    changes = {}
    tasks = [
        problem.prepare("sarcasm", Stage.MEASURE, 5, tmp_path / type(problem).__name__)
        for problem in (PROBLEM, PrincipalAxes())
    ]
    for baseline in PROBLEM.baselines():
        now, before = (
            PROBLEM.pool([(task, PROBLEM.score(task, run_in_process(PROBLEM, baseline, task, 1)))]).mean
            for task in tasks
        )
        changes[baseline.key] = abs(now - before)
    assert len(changes) == 8
    assert max(changes.values()) < 0.02, changes
    assert sum(changes.values()) / 8 < 0.005, changes


@pytest.mark.parametrize("more", [Corruption(permute=True, coordinates=True), Corruption(noise=0.2, coordinates=True)])
def test_one_kind_of_corruption_at_a_time(more: Corruption, tmp_path: Path) -> None:
    task = PROBLEM.prepare("tweet", Stage.TRANSFER, 0, tmp_path)
    with pytest.raises(ProblemError, match="expected one"):
        corrupt_labels(PROBLEM, task, more, 1)
    with pytest.raises(ProblemError, match="no such corruption"):
        draw_label_corruption(task, 5, CHANGE, 1)


def test_a_problem_without_coordinates_says_so(tmp_path: Path) -> None:
    toy = Toy()
    assert not supports_corruption(toy, CHANGE)
    assert supports_corruption(toy, Corruption(permute=True))
    with pytest.raises(ProblemError, match="toy does not support the corruption 'coordinates'"):
        corrupt_labels(toy, toy.prepare("line", Stage.MEASURE, 0, tmp_path), CHANGE, 1)
