"""The 90 % interval holds the truth about nine times in ten; benchmarks/coverage.py is the long form."""

from __future__ import annotations

import numpy as np
import pytest

from aar.problems.weak_to_strong import WeakToStrong
from aar.testing.statistics_simulations import SimulatedDomain, collect_hits, corpus_coverage, made_up_coverage

REPEATS = 300
# Nominal 0.90; four Monte Carlo errors of 0.017 to both sides.
LOW, HIGH = 0.83, 0.97


@pytest.mark.parametrize("k", [2, 3, 4, 8])
def test_on_made_up_splits(k: int) -> None:
    world = SimulatedDomain((0.66, 0.60, 0.80), (0.02, 0.02, 0.01), 0.3, 400, 1000)
    assert LOW <= made_up_coverage({"d": world}, k, REPEATS, np.random.default_rng(k)) <= HIGH


def test_on_splits_resampled_from_the_corpus() -> None:
    problem = WeakToStrong()
    methods = [baseline for baseline in problem.baselines() if baseline.key in ("strong_l2", "zero_shot")]
    by_domain = {domain: collect_hits(methods, domain, 10) for domain in problem.climbed_domains}
    for method in methods:
        hits = {domain: found[method.key] for domain, found in by_domain.items()}
        for k in (2, 4):
            assert LOW <= corpus_coverage(hits, k, REPEATS, np.random.default_rng(k)) <= HIGH, (method.key, k)
