"""Real scores of shipped baselines, made once; and a researcher's model calls, for the reviewer's."""

from __future__ import annotations

import pytest

from aar.problems.weak_to_strong import WeakToStrong
from aar.scoring.phases import CONFIRM, IN_NEW_COORDINATES, MEASURE, PERMUTED, noise_phase
from aar.testing.in_process_runs import measure_in_process

from ...researcher.conftest import empty_database, house
from .scored import METHODS, SEEDS, Scored

__all__ = ["empty_database", "house", "scored"]


@pytest.fixture(scope="session")
def scored() -> Scored:
    problem = WeakToStrong()
    baselines = {each.key: each for each in problem.baselines() if each.key in METHODS}
    by_phase = {}
    phases = (MEASURE, CONFIRM, PERMUTED, noise_phase(0.2), noise_phase(0.4), IN_NEW_COORDINATES)
    series = {phase.key: place for place, phase in enumerate(phases)}
    for phase in phases:
        first = 1000 * series[phase.draw_series]
        seeds = range(first, first + SEEDS)
        by_phase[phase.key] = measure_in_process(problem, list(baselines.values()), phase, seeds)
    by_method = {key: {phase: found[key] for phase, found in by_phase.items()} for key in METHODS}
    return Scored(problem, baselines, by_method)
