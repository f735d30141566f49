"""Measures the effect of a change of coordinates on honest methods.

Run: python benchmarks/coordinates.py [--seeds N] [--methods N]

Scores every baseline of ``weak_to_strong``, and methods drawn from the offline repertoire, three times on the same
splits with the same seeds: in the student's principal axes, which every split had before version 2 of the problem; in
coordinates of the split's own, as now; and in those of the research bundle, as the audit does. Prints the paired
differences of PGR, and the verdicts of the audit ``coordinates``.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from statistics import fmean, stdev

from aar.problems.protocol import Baseline, Stage, Task, TaskScore
from aar.problems.weak_to_strong import WeakToStrong
from aar.scoring.audits.score_audits import LIMIT, score_change
from aar.testing.in_process_runs import run_in_process
from aar.testing.principal_axes import write_principal_axes

PRINCIPAL, TURNED, RESEARCH = "principal axes", "turned", "research bundle's"
Scores = dict[str, dict[str, list[tuple[Task, TaskScore]]]]


def repertoire_methods(problem: WeakToStrong, count: int, folder: Path) -> list[Baseline]:
    """Compose methods as the offline researchers do."""
    repertoire, rng, made = problem.repertoire(), Random(1), []
    for index in range(count):
        directory = folder / f"method-{index}"
        directory.mkdir()
        genome = repertoire.sample(rng, "")
        for name, text in repertoire.render(genome, parent=None).items():
            (directory / name).write_text(text, encoding="utf-8")
        made.append(Baseline(directory.name, directory, repertoire.describe(genome)))
    return made


def score_all(problem: WeakToStrong, methods: list[Baseline], stage: Stage, seeds: int) -> Scores:
    """Return the scores on every domain climbed on, by method and coordinates."""
    found: Scores = defaultdict(lambda: defaultdict(list))
    for seed in range(seeds):
        for domain in problem.climbed_domains:
            with tempfile.TemporaryDirectory(prefix="aar-coordinates-") as folder:
                task = problem.prepare(domain, stage, 7_000 + seed, Path(folder))
                for coordinates in (TURNED, PRINCIPAL, RESEARCH):
                    if coordinates == PRINCIPAL:
                        write_principal_axes(task)
                    elif coordinates == RESEARCH:
                        problem.change_coordinates(task, seed)
                    for method in methods:
                        scored = problem.score(task, run_in_process(problem, method, task, seed))
                        found[method.key][coordinates].append((task, scored))
    return found


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--methods", type=int, default=0, help="methods drawn from the repertoire beside the baselines")
    parser.add_argument("--stage", choices=("measure", "confirm"), default="measure")
    asked = parser.parse_args()
    problem, begun = WeakToStrong(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="aar-coordinates-") as folder:
        methods = [*problem.baselines(), *repertoire_methods(problem, asked.methods, Path(folder))]
        found = score_all(problem, methods, Stage(asked.stage), asked.seeds)
    print(f"{asked.stage}, {asked.seeds} seeds, {time.perf_counter() - begun:.0f} s\n")
    print("| method | principal axes | turned | difference | largest of a split | departure in the audit |")
    print("|---|---|---|---|---|---|")
    departures = []
    for method in methods:
        scores = found[method.key]
        means = {name: problem.pool(each).mean for name, each in scores.items()}
        single = {name: [problem.pool([one]).mean for one in each] for name, each in scores.items()}
        changes = [after - before for after, before in zip(single[TURNED], single[PRINCIPAL], strict=True)]
        error = stdev(changes) / len(changes) ** 0.5 if len(changes) > 1 else 0.0
        sized = asyncio.run(score_change(problem, list(zip(scores[TURNED], scores[RESEARCH], strict=True))))
        departures.append(sized)
        before, now = means[PRINCIPAL], means[TURNED]
        difference = f"{now - before:+.4f} ± {error:.4f} | {max(map(abs, changes)):.4f}"
        print(f"| `{method.key}` | {before:.4f} | {now:.4f} | {difference} | {sized:.3f} |")
    print(f"\ndepartures: mean {fmean(departures):.3f}, largest {max(departures):.3f}; flagged from {LIMIT}")


if __name__ == "__main__":
    main()
