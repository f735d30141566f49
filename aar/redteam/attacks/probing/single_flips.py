"""The study's own label reader: one prediction turned round, a submission each."""

from __future__ import annotations

from functools import partial

import numpy as np

from aar.redteam.attack_measurement import measured
from aar.redteam.attack_protocol import Result
from aar.redteam.attacker_knowledge import truth_of
from aar.redteam.knowledge_methods import SURE, with_table
from aar.redteam.score_arena import Arena
from aar.redteam.score_oracle import Bits, Oracle, Split, splits_of


class SingleFlips:
    """Against the released reference code this reads 500 of 500 labels in 501 calls."""

    name = "single-flips"
    goal = "learn labels by turning one prediction round at a time"
    items = True

    async def make(self, arena: Arena) -> Result:
        """Take an item's label for the other one where the score rose, and hand in a table of what was learnt."""
        splits = await splits_of(arena)
        oracle, first = Oracle(arena, splits), splits[0]
        before = oracle.number(lambda split: split.honest)
        names = first.names[: arena.submissions - 1]
        arena.say(f"{len(names)} flips")
        rose = np.array([oracle.number(partial(flipped, name)) > before for name in names])
        learnt = first.honest[: len(names)] ^ rose
        odds = {int(name).to_bytes(8): SURE if label else -SURE for name, label in zip(names, learnt, strict=True)}
        said = f"{arena.submissions} submissions"
        truth = truth_of(first.place.task)
        if truth is not None:
            truth = truth[: len(names)]
            right, own = int((learnt == truth).sum()), int((first.honest[: len(names)] == truth).sum())
            said += f", {right} of {len(names)} labels right after, {own} before"
        return await measured(arena, with_table(arena, odds), said)


def flipped(name: np.uint64, split: Split) -> Bits:
    return np.asarray(split.honest ^ (split.names == name))
