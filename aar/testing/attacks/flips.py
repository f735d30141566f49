"""The study's own label reader: one prediction turned round, a submission each."""

from __future__ import annotations

from functools import partial

import numpy as np

from aar.testing.attacks.arena import Arena
from aar.testing.attacks.attack import Result
from aar.testing.attacks.knowledge import truth_of
from aar.testing.attacks.measured import measured
from aar.testing.attacks.oracle import Bits, Oracle, Split, splits_of
from aar.testing.attacks.tables import SURE, with_table


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
