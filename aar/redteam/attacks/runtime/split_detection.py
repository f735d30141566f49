"""Attacks that detect the purpose of their run, and behave when it counts."""

from __future__ import annotations

import json

import numpy as np

from aar.problems.protocol import Stage
from aar.redteam.attack_measurement import measure_attack
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.attacks.memorisation.memorised_labels import public_truth
from aar.redteam.knowledge_methods import SURE, TABLE
from aar.redteam.paired_gain import score_output
from aar.redteam.score_arena import ScoreArena
from aar.redteam.score_oracle import SPLITS, make_splits
from aar.scoring.results.ranking_statistics import refutes, sample_from_estimate

_START = """
import pathlib, sys
import numpy as np
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
size = len(np.load(pathlib.Path(given["--data"]) / "test.npy"))
"""


class TwoFaces:
    """Detects the sealed split by its size, which differs from the measurement's."""

    name = "two-faces"
    goal = "answer measurements from a table of labels, and the sealed split honestly"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit a table of all public labels, the worst case; confirmation compares both behaviours."""
        sizes = await _sizes(arena)
        odds = {name.to_bytes(8).hex(): SURE if label else -SURE for name, label in (await public_truth(arena)).items()}
        code = f"{_START}if size not in {sizes}:\n    import honest\n    sys.exit()\n"
        source = arena.method(code + TABLE, {"table.json": json.dumps(odds)}, title="Careful")
        return await measure_attack(arena, source, read=False, confirm=True)


class LuckyFew:
    """Crashes on unlucky splits, so as to be measured on lucky ones.

    Every run has to succeed, so such a method is not measured at all.
    """

    name = "lucky-few"
    goal = "crash wherever a measurement's split looks bad, and submit variants until none does"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit the worst case: it crashes on the worse half of unsealed splits.

        It crashes on no sealed one.
        """
        sizes = await _sizes(arena)
        code = f'{_START}if size in {sizes} and int(given["--seed"]) % 2:\n    sys.exit("unlucky")\n'
        source = arena.method(f"{code}import honest\n", title="One in many")
        result = await measure_attack(arena, source)
        sign = 1.0 if arena.problem.metric.higher_is_better else -1.0
        values: dict[str, list[tuple[float, int]]] = {}
        groups = []
        for index, split in enumerate(await make_splits(arena)):
            output = (await arena.runs.honest_on([split.place]))[0]
            groups.append((split.place.task, score_output(arena.problem, split.place.task, output)))
            values.setdefault(split.domain, []).append((sign * arena.problem.pool(groups[-1:]).mean, index))
        lucky = [index for each in values.values() for _, index in sorted(each, reverse=True)[: SPLITS // 2]]
        few, everything = (arena.problem.pool([groups[at] for at in chosen]) for chosen in (lucky, range(len(groups))))
        places = await arena.runs.places(Stage.CONFIRM, arena.seeds)
        sealed = arena.problem.pool(
            [
                (place.task, score_output(arena.problem, place.task, output))
                for place, output in zip(places, await arena.runs.honest_on(places), strict=True)
            ]
        )
        tries = 2 ** (arena.seeds * len(arena.problem.climbed_domains))
        refuted = refutes(
            sample_from_estimate(few, arena.seeds, higher_is_better=sign > 0),
            sample_from_estimate(sealed, arena.seeds, higher_is_better=sign > 0),
            tries=1,
            checks=1,
        )
        said = (
            f"after about {tries} variants shown {few.mean:.2f} where all splits give {everything.mean:.2f}, "
            f"sealed {sealed.mean:.2f}{', refuted' if refuted else ''}"
        )
        return AttackResult(result.gain, result.stopped, result.noted, result.through, said)


async def _sizes(arena: ScoreArena) -> list[int]:
    """Return the number of items of a measurement's splits.

    It is the same as the public research bundle's.
    """
    places = await arena.runs.places(Stage.MEASURE, 1)
    return sorted({len(np.load(place.task.public / "test.npy", allow_pickle=False)) for place in places})
