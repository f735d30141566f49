"""Measures the offline researchers' search on weak_to_strong.

It runs without sandboxes, forum or waiting.

Each simulated campaign deals four directions, lets four researchers propose four methods each by the search that they
really use, runs the rendered programs in this process and measures them as the scorer would, on splits that change from
submission to submission. The winner is measured once more on splits that no proposal has seen: the second figure is the
one to believe, for the first is the highest of sixteen noisy ones.

    OMP_NUM_THREADS=1 python benchmarks/offline_campaign.py --campaigns 5
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import yaml

from aar.problems.protocol import Estimate, Stage, Task
from aar.problems.search_space import Genome, SearchSpace
from aar.problems.weak_to_strong import WeakToStrong
from aar.researcher.offline.search import MeasuredMethod, propose_genome

FRESH = 1000
"""First seed of the splits on which winners are measured again."""


@dataclass
class Bench:
    """A bench whose tasks are prepared once; runs are timed."""

    problem: WeakToStrong
    folder: Path
    seeds: int
    slowest: float = 0.0

    def measure(self, source: str, first_seed: int) -> Estimate:
        """Return the pooled score of a program on ``seeds`` splits from ``first_seed`` on."""
        output = self.folder / "out.npy"
        scores = []
        for domain in self.problem.climbed_domains:
            for seed in range(first_seed, first_seed + self.seeds):
                task = self._task(domain, seed)
                started = time.process_time()
                _run(source, task, seed, output)
                self.slowest = max(self.slowest, time.process_time() - started)
                scores.append((task, self.problem.score(task, output)))
        return self.problem.pool(scores)

    def _task(self, domain: str, seed: int) -> Task:
        into = self.folder / f"{domain}-{seed}"
        if into.exists():
            return Task(domain, Stage.MEASURE, seed, into / "public", into / "hidden")
        return self.problem.prepare(domain, Stage.MEASURE, seed, into)


def _run(source: str, task: Task, seed: int, output: Path) -> None:
    arguments = ["run.py", "--data", str(task.public), "--seed", str(seed), "--out", str(output)]
    before, sys.argv = sys.argv, arguments
    try:
        exec(compile(source, "run.py", "exec"), {"__name__": "__main__"})
    finally:
        sys.argv = before


def campaign(
    bench: Bench, repertoire: SearchSpace, seed: int, rounds: int, dealt: list[dict[str, str]]
) -> MeasuredMethod:
    """Play one campaign and return its winner.

    In every round all researchers propose at once, knowing the rounds before.
    """
    known: list[MeasuredMethod] = []
    splits = Random(f"splits {seed}")
    for round_number in range(rounds):
        proposed: list[Genome] = []
        for index, direction in enumerate(dealt, 1):
            rng = Random(f"{seed}:r{index}:{direction['key']}:propose:{round_number}")
            words = f"{direction['key']}: {direction['text']}"
            proposed.append(propose_genome(rng, repertoire, words, known, [method.genome for method in known]).genome)
        measured = list(known)
        for genome in proposed:
            estimate = bench.measure(
                repertoire.render(genome, parent=None)["run.py"], splits.randrange(5) * bench.seeds
            )
            score, error = round(estimate.mean, 2), round(estimate.standard_error, 2)
            measured.append(MeasuredMethod(len(measured) + 1, genome, score, error))
        known = measured
    return max(known, key=lambda method: method.mean)


def main() -> None:
    """Print the baselines, then each campaign's winner."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3, help="splits per measurement")
    parser.add_argument("--deal", choices=["first", "random"], default="first", help="which four directions")
    arguments = parser.parse_args()
    problem = WeakToStrong()
    repertoire = problem.repertoire()
    directions = yaml.safe_load(problem.directions().read_text(encoding="utf-8"))
    sys.path.insert(0, str(problem.lab()))
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(problem, Path(scratch), arguments.seeds)
        for baseline in problem.baselines():
            estimate = bench.measure((baseline.directory / "run.py").read_text(encoding="utf-8"), FRESH)
            print(f"baseline {baseline.key:22s} {_shown(estimate)}", flush=True)
        finals = []
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.campaigns):
            dealt = directions[:4] if arguments.deal == "first" else Random(seed).sample(directions, 4)
            best = campaign(bench, repertoire, seed, arguments.rounds, dealt)
            again = bench.measure(repertoire.render(best.genome, parent=None)["run.py"], FRESH)
            finals.append(again.mean)
            said = repertoire.describe(best.genome)
            print(f"campaign {seed}: best {best.mean:.2f}, again {_shown(again)}: {said}", flush=True)
        print(f"winners measured again: {', '.join(f'{mean:.3f}' for mean in sorted(finals))}")
        print(f"slowest run: {bench.slowest:.1f} CPU-seconds")


def _shown(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} ± {estimate.standard_error:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


if __name__ == "__main__":
    main()
