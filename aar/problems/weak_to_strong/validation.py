"""Validation: grades the baselines and searches the public bundle for hidden labels."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aar.errors import AarError
from aar.problems.protocol import OutputRejected, Problem, Stage, Task
from aar.problems.weak_to_strong.bundles import public_files, read_hidden

SPLIT_SEED = 987_654_321
LEAK_ACCURACY = 0.75
"""Accuracy limit: a public number above it was not computed from the text alone."""
ORDER_LIMIT = 4.5
"""Standard deviations from chance at which the order of the rows counts as a leak."""


def find_defects(problem: Problem) -> list[str]:
    """Return every defect found, one line each; empty when sound.

    Runs every baseline.
    """
    try:
        problem.check_data()
    except AarError as error:
        return [str(error)]
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="aar-validate-") as scratch:
        for domain in (*problem.climbed_domains, *problem.transfer_domains):
            stage = Stage.MEASURE if domain in problem.climbed_domains else Stage.TRANSFER
            task = problem.prepare(domain, stage, SPLIT_SEED, Path(scratch) / domain)
            baselines = _baselines(problem, task) if stage is Stage.MEASURE else []
            found += [f"{domain}: {line}" for line in (*find_leaks(task), *_extremes(problem, task), *baselines)]
    return found


def find_leaks(task: Task) -> list[str]:
    """Return ways in which the public bundle reveals the test labels."""
    allowed = public_files(task.stage)
    found = [f"unexpected public file {path.name}" for path in task.public.iterdir() if path.name not in allowed]
    labels = read_hidden(task.hidden)["labels"].astype(bool)
    test = np.load(task.public / "test.npy", allow_pickle=False).astype(np.float32)
    train = np.load(task.public / "train.npy", allow_pickle=False)
    best = max(_separation(column, labels) for column in test.T)
    if best > LEAK_ACCURACY:
        found.append(f"one column of test.npy separates the labels with accuracy {best:.2f}")
    found += _order_leaks(labels)
    shared = {row.tobytes() for row in train} & {row.astype(train.dtype).tobytes() for row in test}
    if len(shared) > 0.01 * len(test):
        found.append(f"{len(shared)} rows of test.npy are in train.npy as well")
    return found


def _separation(column: NDArray[np.float32], labels: NDArray[np.bool_]) -> float:
    """Return the accuracy of a split at the median, for its better side."""
    hits = float(((column > np.median(column)) == labels).mean())
    return max(hits, 1 - hits)


def _order_leaks(labels: NDArray[np.bool_]) -> list[str]:
    """Return ways in which position predicts the label.

    Checked: drift along the file, and one row to the next.
    """
    signs = labels * 2.0 - 1
    drift = float(signs @ np.linspace(-1, 1, len(signs))) / np.sqrt(len(signs) / 3)
    runs = float(signs[1:] @ signs[:-1]) / np.sqrt(len(signs))
    names = ("the labels drift along test.npy", "neighbouring rows of test.npy share labels")
    return [
        f"{name} ({value:.1f} standard deviations)"
        for name, value in zip(names, (drift, runs), strict=True)
        if abs(value) > ORDER_LIMIT
    ]


def _extremes(problem: Problem, task: Task) -> list[str]:
    """Return defects where teacher-like predictions do not grade 0, or ceiling-like ones 1."""
    found: list[str] = []
    output = task.public.parent / "output.npy"
    hidden = read_hidden(task.hidden)
    for name, right, expected in (("weak", "weak_right", 0.0), ("ceiling", "ceiling_right", 1.0)):
        with output.open("wb") as file:
            np.save(file, (hidden["labels"].astype(bool) == hidden[right]).astype(np.float32), allow_pickle=False)
        graded = problem.pool([(task, problem.score(task, output))]).mean
        if abs(graded - expected) > 1e-9:
            found.append(f"predictions as good as {name} are graded {graded:.3f} instead of {expected:.0f}")
    return found


def _baselines(problem: Problem, task: Task) -> list[str]:
    """Return defects of baselines that fail, cannot be scored, or grade out of range."""
    found: list[str] = []
    output = task.public.parent / "output.npy"
    for baseline in problem.baselines():
        output.unlink(missing_ok=True)
        environment = dict(os.environ, PYTHONPATH=str(problem.lab()), OMP_NUM_THREADS="1")
        arguments = ["--data", str(task.public), "--seed", "0", "--out", str(output)]
        ran = subprocess.run(
            [sys.executable, str(baseline.directory / "run.py"), *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=problem.run_limits.seconds,
            check=False,
        )
        try:
            if ran.returncode != 0:
                found.append(f"baseline {baseline.key} failed: {(ran.stderr.strip() or 'no message').splitlines()[-1]}")
            elif not -3 < problem.pool([(task, problem.score(task, output))]).mean < 1.2:
                found.append(f"baseline {baseline.key} has an impossible grade")
        except OutputRejected as error:
            found.append(f"baseline {baseline.key} wrote an output that cannot be scored: {error}")
    return found
