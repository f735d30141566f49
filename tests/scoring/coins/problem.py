"""A problem with tight limits for the scorer's tests: name hidden coin flips, given noisy ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

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

HERE = Path(__file__).parent
ITEMS = 400


class Coins:
    """The score is the share of right answers; copying the noisy flips reaches about 0.7."""

    name = "coins"
    title = "Coins"
    metric = Metric(name="accuracy", higher_is_better=True, ceiling=1.0)
    climbed_domains = ("heads", "tails")
    transfer_domains = ("edge",)
    research_domains = climbed_domains
    run_limits = RunLimits(seconds=60.0, memory_bytes=256 * 1024**2, cpus=1.0, output_bytes=256 * 1024)
    default_seeds = 2
    sealed_noise = 0.3
    """Share of wrong flips on sealed splits; a test that wants another score there than was measured changes it."""

    def check_data(self) -> None:
        """Nothing to check: flips are drawn."""

    def prepare(self, domain: str, stage: Stage, split_seed: int, into: Path) -> Task:
        task = Task(domain, stage, split_seed, into / "public", into / "hidden")
        rng = np.random.default_rng(split_seed)
        flips = rng.integers(0, 2, ITEMS)
        share = self.sealed_noise if stage is Stage.CONFIRM else 0.3
        noisy = np.where(rng.random(ITEMS) < share, 1 - flips, flips)
        for directory, name, array in ((task.public, "noisy", noisy), (task.hidden, "flips", flips)):
            directory.mkdir()
            np.save(directory / f"{name}.npy", array)
        return task

    def corrupt(self, task: Task, corruption: Corruption, seed: int) -> None:
        noisy = np.load(task.public / "noisy.npy")
        drawn = draw_label_corruption(task, ITEMS, corruption, seed)
        spoilt = noisy[list(drawn.sources)]
        spoilt[list(drawn.turned)] = 1 - spoilt[list(drawn.turned)]
        np.save(task.public / "noisy.npy", spoilt)

    def score(self, task: Task, output: Path) -> TaskScore:
        flips, named = np.load(task.hidden / "flips.npy"), np.load(output, allow_pickle=False)
        if named.shape != flips.shape:
            raise OutputRejected(f"its shape is {named.shape}, it must be {flips.shape}")
        return TaskScore({"accuracy": float((named == flips).mean())})

    def pool(self, scores: Sequence[tuple[Task, TaskScore]]) -> Estimate:
        values = np.array([score.parts["accuracy"] for _, score in scores])
        mean, error = float(values.mean()), float(np.sqrt(0.21 / ITEMS / len(values)))
        return Estimate(
            mean, error, mean - 1.645 * error, mean + 1.645 * error, len(values), freedom=ITEMS * len(values)
        )

    def brief(self) -> str:
        return "Name the flips."

    def baselines(self) -> Sequence[Baseline]:
        return [Baseline(key, HERE / "baselines" / key, key) for key in ("copy", "flip")]

    def lab(self) -> Path:
        return HERE / "lab"

    def sandbox_packages(self) -> Sequence[str]:
        return ("numpy",)

    def directions(self) -> Path:
        return HERE / "directions.yaml"

    def validate(self) -> Sequence[str]:
        return []
