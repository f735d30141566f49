from __future__ import annotations

from aar.problems.protocol import Stage
from aar.scoring.phases import draw_seeds


def test_draws_repeat_and_differ_in_every_argument() -> None:
    base = draw_seeds("secret", Stage.MEASURE, 1, "d" * 64, 0)
    assert base == draw_seeds("secret", Stage.MEASURE, 1, "d" * 64, 0)
    others = [
        draw_seeds("other", Stage.MEASURE, 1, "d" * 64, 0),
        draw_seeds("secret", Stage.CONFIRM, 1, "d" * 64, 0),
        draw_seeds("secret", Stage.MEASURE, 2, "d" * 64, 0),
        draw_seeds("secret", Stage.MEASURE, 1, "e" * 64, 0),
        draw_seeds("secret", Stage.MEASURE, 1, "d" * 64, 1),
    ]
    assert len({base, *others}) == 6
    assert len({each.split_seed for each in (base, *others)}) == 6


def test_draws_fit_what_takes_them() -> None:
    drawn = [draw_seeds("secret", Stage.MEASURE, 1, "d", index) for index in range(500)]
    assert all(0 <= each.seed < 2**31 and 0 <= each.split_seed < 2**63 for each in drawn)
    assert max(each.seed for each in drawn) > 2**30
    assert max(each.split_seed for each in drawn) > 2**62
