"""An attack of random predictions keyed by content, decoded together.

Every submission asks about all items at once.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from aar.redteam.attack_measurement import measure_attack
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.attacker_knowledge import public_items
from aar.redteam.knowledge_methods import method_with_table
from aar.redteam.score_arena import ScoreArena
from aar.redteam.score_oracle import (
    Bits,
    ProbedSplit,
    ScoreOracle,
    compare_with_scorer,
    make_splits,
    random_bytes,
    row_numbers,
)

_MASK = """
import hashlib, pathlib, sys
import numpy as np
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
rows = np.load(pathlib.Path(given["--data"]) / "test.npy")
bits = [hashlib.blake2b(row.tobytes()).digest()[0] & 1 for row in rows]
with open(given["--out"], "wb") as file:
    np.save(file, np.array(bits, dtype=np.uint8))
"""


class RandomMasks:
    """Random predictions whose bits follow from each item's content.

    Fresh splits and shuffled rows therefore change nothing.
    """

    name = "random-masks"
    goal = "decode labels from the scores of random predictions keyed by content"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Correlate the scores with every item's bits, and build a table.

        The posterior log-odds go into the table, beside the teacher's.
        """
        splits = await make_splits(arena)
        oracle = ScoreOracle(arena, splits)
        disagreement = await compare_with_scorer(arena, arena.method(_MASK, title="Noise"), lambda split: split.bit(0))
        arena.say(f"{arena.submissions} masks")
        answers = [partial(_bits, turn) for turn in range(arena.submissions)]
        scores = np.array([oracle.number(answer) for answer in answers])
        told = (scores - scores.mean()) / max(float(scores.std()), 1e-9)
        known = [items.rows for items in (await public_items(arena)).values()]
        count = sum(map(len, known))
        odds: dict[bytes, float] = {}
        for rows in known:
            bits = np.unpackbits(random_bytes(rows), axis=1, bitorder="little")[:, : len(scores)]
            signal = (bits * 2.0 - 1) @ told / np.sqrt(len(scores))
            # A label moves its statistic by sqrt(T / n), n items sharing the spread of T scores.
            found = 2 * signal * np.sqrt(len(scores) / count)
            odds |= {int(name).to_bytes(8): float(each) for name, each in zip(row_numbers(rows), found, strict=True)}
        said = f"{arena.submissions} submissions, {count} items"
        through = [f"the harness errs: {disagreement}"] if disagreement else []
        result = await measure_attack(arena, method_with_table(arena, odds), said)
        return AttackResult(result.gain, result.stopped, result.noted, through, result.said)


def _bits(turn: int, split: ProbedSplit) -> Bits:
    return split.bit(turn)
