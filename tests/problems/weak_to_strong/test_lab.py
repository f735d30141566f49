"""The library that sandboxes get: each block does what its docstring says, on data with known answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aar.problems.protocol import Stage
from aar.problems.registry import find_problem
from aar.problems.weak_to_strong.lab import w2s
from aar.problems.weak_to_strong.lab.w2s.data import widen

Array = NDArray[np.float32]


def two_clouds(rng: np.random.Generator, n: int = 600, apart: float = 3.0) -> tuple[Array, Array]:
    """Two Gaussian clouds in ten dimensions, their labels, in random order."""
    labels = rng.integers(0, 2, n).astype(np.float32)
    x = rng.normal(size=(n, 10)).astype(np.float32)
    x[:, 0] += apart * (labels - 0.5)
    return x, labels


def flipped(rng: np.random.Generator, labels: Array, share: float) -> Array:
    return np.where(rng.random(len(labels)) < share, 1 - labels, labels).astype(np.float32)


def accuracy(guess: Array, labels: Array) -> float:
    return float(((guess > 0.5) == (labels > 0.5)).mean())


@pytest.mark.parametrize("l2", [1e-5, 1e-3, 1e-1])
@pytest.mark.parametrize("soft", [False, True])
def test_head_matches_scikit_learn(l2: float, soft: bool) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x, labels = two_clouds(rng, apart=1.5)
    weights = rng.uniform(0.5, 2, len(x)).astype(np.float32)
    targets = np.clip(labels, 0.2, 0.9) if soft else labels
    ours = w2s.fit_logistic(x, targets, l2=l2, weights=weights)
    doubled, both = np.concatenate([x, x]), np.repeat([1, 0], len(x))
    shares = np.concatenate([weights * targets, weights * (1 - targets)])
    theirs = LogisticRegression(C=1 / (l2 * weights.sum()), tol=1e-8, max_iter=5000).fit(doubled, both, shares)
    assert ours.logits(x) == pytest.approx(theirs.decision_function(x), abs=0.03)


def test_head_finds_the_best_weights_for_columns_of_any_size() -> None:
    rng = np.random.default_rng(7)
    x, labels = two_clouds(rng)
    stretched = x * np.float32(10) ** rng.uniform(-2, 2, x.shape[1]).astype(np.float32)
    stretched[:, 3] = 5.0  # tells nothing, and has no spread
    for l2 in (0.0, 1e-4, 1e-1):
        head = w2s.fit_logistic(stretched, labels, l2=l2, iterations=500)
        centred = (stretched - stretched.mean(axis=0)).astype(np.float64)
        off = w2s.sigmoid(head.logits(stretched)) - labels
        slopes = (off @ centred / len(x) + l2 * head.weights) / np.maximum(centred.std(axis=0), 1e-2)
        assert np.abs(slopes).max() < 2e-3
        assert abs(off.mean()) < 2e-3


def test_widening_keeps_every_number() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(256, 256)
    assert widen(halves).view(np.uint32).tolist() == halves.astype(np.float32).view(np.uint32).tolist()
    assert widen(halves.T)[3, 5] == halves[5, 3]


def test_head_starts_from_another() -> None:
    x, labels = two_clouds(np.random.default_rng(1))
    cold = w2s.fit_logistic(x, labels, l2=1e-3)
    warm = w2s.fit_logistic(x, labels, l2=1e-3, start=cold, iterations=2)
    assert warm.logits(x) == pytest.approx(cold.logits(x), abs=0.02)


def test_own_loss_equals_the_built_in_one() -> None:
    x, labels = two_clouds(np.random.default_rng(2))
    ours = w2s.fit_loss(x, w2s.cross_entropy(labels), l2=1e-2)
    assert ours.logits(x) == pytest.approx(w2s.fit_logistic(x, labels, l2=1e-2).logits(x), abs=1e-3)


@given(st.floats(-80, 80))
def test_sigmoid_and_logit(z: float) -> None:
    p = w2s.sigmoid([z])[0]
    assert 0 <= p <= 1
    if abs(z) < 8:
        assert w2s.logit([p])[0] == pytest.approx(z, abs=0.02)


def test_whitened_components_are_uncorrelated() -> None:
    x = np.random.default_rng(3).normal(size=(2000, 8)).astype(np.float32) @ np.diag(np.arange(1, 9)).astype(np.float32)
    z = w2s.pca(x, 4, whiten=True, ridge=0)(x)
    assert np.cov(z.T) == pytest.approx(np.eye(4), abs=0.01)
    assert w2s.pca(x, 2)(x).var(axis=0)[0] >= w2s.pca(x, 2)(x).var(axis=0)[1]


def test_standardise() -> None:
    x = np.random.default_rng(4).normal(3, 5, size=(500, 6)).astype(np.float32)
    z = w2s.standardise(x)(x)
    assert z.mean(axis=0) == pytest.approx(np.zeros(6), abs=1e-3)
    assert z.std(axis=0) == pytest.approx(np.ones(6), abs=1e-3)


@given(st.integers(1, 20), st.integers(1, 64))
@settings(max_examples=20)
def test_nearest_agrees_with_brute_force(k: int, block: int) -> None:
    x = np.random.default_rng(k).normal(size=(90, 5)).astype(np.float32)
    unit = w2s.unit_rows(x)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    found = w2s.nearest(x, x, k, skip_self=True, block=block)
    expected = np.argsort(-similarity, axis=1)[:, :k]
    assert [set(row) for row in found.tolist()] == [set(row) for row in expected.tolist()]


def test_repairs_raise_the_accuracy_of_noisy_labels() -> None:
    rng = np.random.default_rng(5)
    x, labels = two_clouds(rng, n=1500)
    noisy = flipped(rng, labels, 0.3)
    assert accuracy(noisy, labels) < 0.75
    repaired = {
        "neighbours": w2s.knn_denoise(x, noisy, k=40),
        "out of fold": w2s.sigmoid(w2s.cross_fit(x, noisy, rng=rng, l2=1e-2)),
        "channel": w2s.noisy_channel(x, np.where(noisy > 0, 0.8, 0.2), rng=rng, bins=2),
    }
    for name, guess in repaired.items():
        assert guess.shape == labels.shape, name
        assert accuracy(guess, labels) > 0.85, name
    assert accuracy(w2s.auxiliary_confidence(x, noisy).proba(x), labels) > 0.85


def test_cross_fit_never_sees_the_label_it_judges() -> None:
    """With labels that are pure noise, in many dimensions, a head in sample is far better than chance."""
    rng = np.random.default_rng(6)
    x, labels = rng.normal(size=(300, 100)).astype(np.float32), rng.integers(0, 2, 300).astype(np.float32)
    assert accuracy(w2s.fit_logistic(x, labels).proba(x), labels) > 0.75
    assert accuracy(w2s.sigmoid(w2s.cross_fit(x, labels, rng=rng)), labels) < 0.6


def test_confidence_helpers() -> None:
    p = np.array([0.9, 0.6, 0.5, 0.2, 0.05], dtype=np.float32)
    assert w2s.confidence(p) == pytest.approx([0.8, 0.2, 0, 0.6, 0.9])
    assert w2s.harden(p).tolist() == [1, 1, 0, 0, 0]
    assert w2s.harden([0.9, 0.8, 0.7, 0.6], share=0.5).tolist() == [1, 1, 0, 0]
    assert sorted(w2s.most_confident(p, 0.4, per_class=False).tolist()) == [0, 4]
    assert sorted(w2s.most_confident(p, 0.8).tolist()) == [0, 1, 3, 4]
    z = w2s.standard_logits([1.0, 2, 3, 4, 10])
    assert float(np.median(z)) == 0
    assert z.std() == pytest.approx(1)
    assert w2s.blend(([1.0, 2, 3], 1), ([3.0, 2, 1], 1)) == pytest.approx([0.5, 0.5, 0.5])


def test_reads_a_bundle_and_writes_what_is_scored(tmp_path: Path) -> None:
    problem = find_problem("weak_to_strong")
    task = problem.prepare("amazon", Stage.TRANSFER, 3, tmp_path)
    data = w2s.load(task.public)
    assert (data.domain, data.classes) == ("amazon", ("negative", "positive"))
    assert data.train.shape == (len(data.weak), 576)
    assert data.train.dtype == data.test.dtype == data.prompts.dtype == np.float32
    assert data.prompts.shape == (2, len(data.phrasings[0]), 576)
    assert data.train_texts is None
    study = w2s.load(problem.prepare("movie", Stage.RESEARCH, 3, tmp_path / "study").public)
    assert study.train_texts is not None
    assert len(study.train_texts) == len(study.train)
    assert sum(text is not None for text in study.train_texts) == 200
    assert sorted(data.layers) == [4, 5, 6]
    assert data.columns([6]).tolist() == list(range(384, 576))
    assert len(data.columns()) == 576
    judged = w2s.zero_shot_logits(data, data.train, layers=[5, 6], phrasings=[0, 2])
    assert float(np.median(judged)) == pytest.approx(0, abs=1e-5)
    w2s.save(w2s.sigmoid(w2s.zero_shot_logits(data, data.test)), tmp_path / "no-suffix")
    assert problem.score(task, tmp_path / "no-suffix").parts["method_accuracy"] > 0.55


def test_library_stands_alone() -> None:
    """As in a sandbox: only the lab on the path, and nothing heavier than numpy behind it."""
    code = "import sys, w2s; print([m for m in ('aar', 'scipy', 'sklearn', 'torch') if m in sys.modules])"
    lab = str(find_problem("weak_to_strong").lab())
    ran = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": lab}, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"
