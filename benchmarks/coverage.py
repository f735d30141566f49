"""Measures how often nominal 90 % intervals of PGR contain the truth.

Run: python benchmarks/coverage.py [--quick]

First on made-up splits whose truth is known, then on the shipped corpus: a method is trained on many splits and judged
on all sealed rows, which gives the truth; then trainings and rows are resampled as measurements draw them. The interval
is the very one that the scorer reports, from k splits of each domain.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from rich.console import Console
from rich.table import Table

from aar.problems.weak_to_strong.problem import WeakToStrong
from aar.testing.statistics_simulations import SimulatedDomain, collect_hits, corpus_coverage, made_up_coverage

SPLITS = (1, 2, 3, 4, 8)
METHODS = ("vanilla", "strong_l2", "zero_shot", "noisy_channel_em")
WORLDS = {
    "one small domain": {"d": SimulatedDomain((0.66, 0.60, 0.80), (0.02, 0.02, 0.01), 0.3, 400, 1000)},
    "like the shipped domains": {
        "movie": SimulatedDomain((0.68, 0.60, 0.79), (0.012, 0.012, 0.006), 0.3, 2990, 6228),
        "sarcasm": SimulatedDomain((0.65, 0.60, 0.84), (0.008, 0.008, 0.004), 0.3, 6000, 13096),
    },
    "split noise alone": {"d": SimulatedDomain((0.70, 0.60, 0.80), (0.03, 0.03, 0.01), 0.3, 3000, 15_000)},
    "item noise alone": {"d": SimulatedDomain((0.70, 0.60, 0.80), (0, 0, 0), 0.3, 500, 1000)},
    "a fixed test set": {"d": SimulatedDomain((0.70, 0.60, 0.80), (0.02, 0.02, 0.01), 0.3, 1000, 1000)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repeats and trainings")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    repeats, trainings = (200, 6) if options.quick else (1000, 40)
    rng = np.random.default_rng(options.seed)
    table = Table("splits drawn from", *(f"k = {k}" for k in SPLITS))
    for name, worlds in WORLDS.items():
        table.add_row(name, *(f"{made_up_coverage(worlds, k, repeats, rng):.1%}" for k in SPLITS))
    problem = WeakToStrong()
    methods = [baseline for baseline in problem.baselines() if baseline.key in METHODS]
    by_domain = {domain: collect_hits(methods, domain, trainings) for domain in problem.climbed_domains}
    for method in methods:
        hits = {domain: found[method.key] for domain, found in by_domain.items()}
        shares = (corpus_coverage(hits, k, repeats, rng) for k in SPLITS)
        table.add_row(f"corpus, {method.key}", *(f"{share:.1%}" for share in shares))
    console = Console()
    console.print(table)
    console.print(f"Nominal 90 %; Monte Carlo error about {math.sqrt(0.09 / repeats):.1%}")


if __name__ == "__main__":
    main()
