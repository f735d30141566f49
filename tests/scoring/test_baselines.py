from __future__ import annotations

import pytest

from aar.errors import NotFound
from aar.problems.protocol import Problem, Stage
from aar.scoring.baselines import BaselineResult, measure_baselines
from aar.scoring.cleanroom.clean_room import CleanRoom

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]


async def test_baselines_are_measured_on_the_same_splits(problem: Problem, clean_room: CleanRoom) -> None:
    told: list[BaselineResult] = []
    runs: list[tuple[str, int, int]] = []
    results = await measure_baselines(
        problem,
        clean_room,
        seeds=2,
        parallel=2,
        on_result=told.append,
        on_run=lambda key, done, total: runs.append((key, done, total)),
    )
    assert [result.key for result in results] == ["copy", "flip"]
    assert told == results
    copy, flip = (result.estimate for result in results)
    assert copy is not None
    assert flip is not None
    assert copy.mean + flip.mean == pytest.approx(1.0)
    assert runs == [(key, done, 4) for key in ("copy", "flip") for done in (1, 2, 3, 4)]
    assert not list((clean_room.work_dir / "bundles").iterdir())


async def test_chosen_ones_and_the_transfer_stage(problem: Problem, clean_room: CleanRoom) -> None:
    (result,) = await measure_baselines(problem, clean_room, stage=Stage.TRANSFER, seeds=1, keys=["flip"])
    assert result.estimate is not None
    assert result.estimate.tasks == 1
    with pytest.raises(NotFound, match="nonesuch"):
        await measure_baselines(problem, clean_room, seeds=1, keys=["nonesuch"])
