"""Seeded schedules of faults against the double: a subset of what ``benchmarks/fault_schedules.py`` runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aar.testing.fault_campaigns import make_template_database, run_schedule

_SCHEDULES, _BATCH = 40, 5
FOUND = (117, 213, 395)
"""Seeds that once found something: a broken reply after a summary was charged too little; hand-overs look alike."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template_database(tmp_path_factory.mktemp("template") / "aar.db")


@pytest.mark.parametrize("first", range(0, _SCHEDULES, _BATCH))
def test_no_limit_is_overshot_and_no_turn_is_paid_twice(first: int, template: Path, tmp_path: Path) -> None:
    for seed in range(first, first + _BATCH):
        _hold(seed, template, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", FOUND)
def test_seeds_that_found_something(seed: int, template: Path, tmp_path: Path) -> None:
    _hold(seed, template, tmp_path)


def _hold(seed: int, template: Path, folder: Path) -> None:
    place = folder / str(seed)
    place.mkdir()
    verdict = asyncio.run(run_schedule(seed, template, place))
    assert not any(verdict.overshoot.values()), (seed, verdict.overshoot)
    assert not verdict.complaints, (seed, verdict.complaints)
    assert verdict.counted >= verdict.billed
