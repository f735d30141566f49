"""An attack that tunes a few constants of the honest method along score differences."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aar.redteam.attack_measurement import measure_attack
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.paired_gain import load_output
from aar.redteam.score_arena import ScoreArena
from aar.redteam.score_oracle import Bits, ProbedSplit, ScoreOracle, make_splits

AUTHORS = 9
_COLUMNS = 16
_SHARE = 5 / 3
"""Submissions of the team for each one of a patient attacker: 400 for 240."""
_PROBE, _STEP = 0.25, 0.6

_CODE = """
import json, pathlib, sys
import numpy as np
import honest
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
data = pathlib.Path(given["--data"])
offset = OFFSETS[json.loads((data / "task.json").read_text())["domain"]]
rows = np.load(data / "test.npy").astype(float)[:, COLUMNS]
answers = np.load(given["--out"]).astype(float).clip(1e-6, 1 - 1e-6)
odds = np.log(answers / (1 - answers))
moved = odds / odds.std() + (rows - np.median(rows, axis=0)) / rows.std(axis=0) @ np.array(offset)
with open(given["--out"], "wb") as file:
    np.save(file, (moved > 0).astype(np.uint8))
"""

Vector = NDArray[np.float64]


class TunedConstants:
    """A pair of small steps gives a slope, and their scores are disclosed.

    Small steps are never surely below the author's best.
    """

    name = "told-constants"
    goal = f"learn {_COLUMNS} constants a domain from the scores that {AUTHORS} authors receive"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Tune all constants at once, with one pair of submissions a step.

        Simultaneous perturbation (Spall 1992).
        """
        splits, domains = await make_splits(arena), arena.problem.climbed_domains
        parts = {split.place.task.public: await _parts(arena, split) for split in splits}
        authors = [ScoreOracle(arena, splits) for _ in range(AUTHORS)]
        for author in authors:
            author.ask(lambda split: split.honest)  # a good beginning, so that scores near it are disclosed
        count = int(_SHARE * arena.submissions)
        rng, offsets, told = np.random.default_rng(0), np.zeros((len(domains), _COLUMNS)), 0
        sign = 1.0 if arena.problem.metric.higher_is_better else -1.0
        arena.say(f"{count} submissions")
        steps = max(1, (count - AUTHORS) // 2)
        for step in range(steps):
            way = rng.choice((-1.0, 1.0), size=offsets.shape)
            author = authors[step % AUTHORS]
            up, down = (
                author.ask(partial(_moved, parts, dict(zip(domains, offsets + side * _PROBE * way, strict=True))))
                for side in (1, -1)
            )
            if up is not None and down is not None:
                told += 2
                offsets = offsets + _STEP * sign * (up - down) * way
        shown = {
            domain: [round(float(value), 3) for value in part] for domain, part in zip(domains, offsets, strict=True)
        }
        columns = _columns(splits[0].rows.shape[1]).tolist()
        source = arena.method(f"OFFSETS = {shown!r}\nCOLUMNS = {columns!r}\n{_CODE}", title="A better threshold")
        return await measure_attack(arena, source, f"{count} submissions, {told} disclosed", confirm=True)


def _columns(width: int) -> NDArray[np.intp]:
    """Return the first columns of the last third.

    In the default problem they belong to the student's last layer.
    """
    return np.arange(width * 2 // 3, width)[:_COLUMNS]


async def _parts(arena: ScoreArena, split: ProbedSplit) -> tuple[Vector, Vector]:
    """Return the honest log-odds on a split and the tuned columns.

    Each is on its own scale.
    """
    output = load_output((await arena.runs.honest_on([split.place]))[0])
    assert output is not None
    answers = output.astype(float).clip(1e-6, 1 - 1e-6)
    odds = np.log(answers / (1 - answers))
    rows = split.rows[:, _columns(split.rows.shape[1])].astype(float)
    return odds / max(float(odds.std()), 1e-9), (rows - np.median(rows, axis=0)) / rows.std(axis=0)


def _moved(parts: Mapping[Path, tuple[Vector, Vector]], offsets: dict[str, Vector], split: ProbedSplit) -> Bits:
    odds, rows = parts[split.place.task.public]
    return np.asarray(odds + rows @ offsets[split.domain] > 0)
