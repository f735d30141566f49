"""Curve fitting: guess a hidden curve from noisy points.

Copy this folder to start a problem of your own.

Everything here needs only the standard library and the fixed contract in ``aar.problems.protocol``.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from statistics import fmean, pvariance
from tempfile import TemporaryDirectory

from aar.errors import DataMissing, NotFound, ProblemError
from aar.problems.protocol import (
    Baseline,
    Corruption,
    Estimate,
    Metric,
    OutputRejected,
    RunLimits,
    Stage,
    Task,
    TaskScore,
    draw_label_corruption,
)
from aar.problems.search_space import SearchSpace
from aar.problems.statistics import pool_means

HERE = Path(__file__).parent
NOISE = 0.3
TRAIN_POINTS, TEST_POINTS = 60, 200

Curve = Callable[[float], float]


def _line(rng: Random) -> Curve:
    slope, height = rng.uniform(-2, 2), rng.uniform(-1, 1)
    return lambda x: slope * x + height


def _wave(rng: Random) -> Curve:
    pace, start = rng.uniform(4, 8), rng.uniform(0, math.tau)
    return lambda x: math.sin(pace * x + start)


def _steps(rng: Random) -> Curve:
    heights = [rng.uniform(-1, 1) for _ in range(5)]
    return lambda x: heights[min(int((x + 1) * 2.5), 4)]


CURVES: dict[str, Callable[[Random], Curve]] = {"line": _line, "wave": _wave, "steps": _steps}


class Toy:
    """Guess a curve on [-1, 1] from 60 noisy points.

    The score is the share of its variance explained.
    """

    name = "toy"
    title = "Curve fitting"
    metric = Metric(name="R2", higher_is_better=True, ceiling=1.0)
    climbed_domains: Sequence[str] = ("line", "wave")
    transfer_domains: Sequence[str] = ("steps",)
    research_domains: Sequence[str] = ("line", "wave")
    run_limits = RunLimits(seconds=10.0, memory_bytes=512 * 1024**2, cpus=1.0, output_bytes=64 * 1024)
    default_seeds = 3

    def check_data(self) -> None:
        """Check that the files beside this one exist. The data is drawn on demand.

        Raises DataMissing.
        """
        for path in (self.directions(), self.lab(), *(baseline.directory / "run.py" for baseline in self.baselines())):
            if not path.exists():
                raise DataMissing(f"a file of the problem is absent: {path}", "Copy the whole folder again")

    def prepare(self, domain: str, stage: Stage, split_seed: int, into: Path) -> Task:
        """Draw a curve and noisy points on it. Raises NotFound, ProblemError."""
        if domain not in CURVES:
            raise NotFound(f"toy has no domain {domain!r}", f"It has {', '.join(CURVES)}")
        if (domain in self.transfer_domains) != (stage is Stage.TRANSFER):
            raise ProblemError(f"domain {domain!r} of toy has no {stage} splits")
        rng = Random(f"{domain} {stage} {split_seed}")  # noqa: S311 - data, not a secret
        curve = CURVES[domain](rng)
        train = [rng.uniform(-1, 1) for _ in range(TRAIN_POINTS)]
        test = [rng.uniform(-1, 1) for _ in range(TEST_POINTS)]
        task = Task(domain, stage, split_seed, into / "public", into / "hidden")
        public = {"x": train, "y": [curve(x) + rng.gauss(0, NOISE) for x in train], "test_x": test}
        for folder, mode, name, content in (
            (task.public, 0o755, "points.json", public),
            (task.hidden, 0o700, "truth.json", {"test_y": [curve(x) for x in test]}),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
            (folder / name).chmod(mode & 0o644)
        return task

    def corrupt(self, task: Task, corruption: Corruption, seed: int) -> None:
        """Corrupt the noisy heights: moved between points, or mirrored at their mean.

        Raises ProblemError.
        """
        path = task.public / "points.json"
        points: dict[str, list[float]] = json.loads(path.read_text(encoding="utf-8"))
        heights, middle = points["y"], fmean(points["y"])
        drawn = draw_label_corruption(task, len(heights), corruption, seed)
        points["y"] = [heights[source] for source in drawn.sources]
        for item in drawn.turned:
            points["y"][item] = 2 * middle - heights[item]
        path.write_text(json.dumps(points), encoding="utf-8")

    def score(self, task: Task, output: Path) -> TaskScore:
        """Score one minus the mean squared error over the curve's variance.

        Raises OutputRejected.
        """
        truth: list[float] = json.loads((task.hidden / "truth.json").read_text(encoding="utf-8"))["test_y"]
        guesses = self._read(output)
        if len(guesses) != len(truth):
            raise OutputRejected(
                f"the output holds {len(guesses)} numbers; {len(truth)} are expected, one a test point"
            )
        error = fmean((guess - true) ** 2 for guess, true in zip(guesses, truth, strict=True))
        return TaskScore({"explained": max(1 - error / pvariance(truth), -1.0), "items": float(len(truth))})

    def _read(self, output: Path) -> list[float]:
        if output.is_symlink() or not output.is_file():
            raise OutputRejected("the method wrote no output file: write one number a line to the path given by --out")
        if output.stat().st_size > self.run_limits.output_bytes:
            raise OutputRejected(f"the output file is larger than {self.run_limits.output_bytes:,} bytes")
        try:
            guesses = [float(line) for line in output.read_text(encoding="utf-8").split()]
        except (ValueError, UnicodeDecodeError):
            raise OutputRejected("the output file is not a list of numbers, one a line") from None
        if not all(map(math.isfinite, guesses)):
            raise OutputRejected("some of the output's numbers are NaN or infinite")
        # A guess this far off scores the least possible anyway; its square must stay a number.
        return [min(max(guess, -1e6), 1e6) for guess in guesses]

    def pool(self, scores: Sequence[tuple[Task, TaskScore]]) -> Estimate:
        """Return the mean over domains. Raises ProblemError.

        Its error is the spread between splits.
        """
        by_domain: dict[str, list[float]] = defaultdict(list)
        for task, scored in scores:
            by_domain[task.domain].append(scored.parts["explained"])
        return pool_means(by_domain)

    def brief(self) -> str:
        """Return the researcher's brief, in Markdown."""
        return (HERE / "brief.md").read_text(encoding="utf-8")

    def baselines(self) -> Sequence[Baseline]:
        """Return the methods that ship."""
        folder = HERE / "baselines"
        return [
            Baseline("overall_mean", folder / "overall_mean", "The mean of all points, everywhere"),
            Baseline("nearest_points", folder / "nearest_points", "The mean of the five nearest points"),
        ]

    def lab(self) -> Path:
        """Return the folder of the module ``toylab``."""
        return HERE / "lab"

    def sandbox_packages(self) -> Sequence[str]:
        """Return no packages: the standard library is enough."""
        return ()

    def directions(self) -> Path:
        """Return the directions dealt by default."""
        return HERE / "directions.yaml"

    def repertoire(self) -> SearchSpace:
        """Return the search space of offline researchers.

        Leave this method out where only language models shall work.
        """
        from .search_space import ToySearchSpace

        return ToySearchSpace()

    def validate(self) -> Sequence[str]:
        """Search the public values for hidden ones."""
        self.check_data()
        with TemporaryDirectory() as scratch:
            task = self.prepare("wave", Stage.MEASURE, 0, Path(scratch))
            public = (task.public / "points.json").read_text(encoding="utf-8")
            truth = json.loads((task.hidden / "truth.json").read_text(encoding="utf-8"))["test_y"]
        leaked = sum(repr(value) in public for value in truth)
        return [f"{leaked} hidden values stand in points.json"] if leaked else []
