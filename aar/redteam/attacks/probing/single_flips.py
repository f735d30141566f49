"""The study's own label reader: flips one prediction in each submission."""

from __future__ import annotations

from functools import partial

import numpy as np

from aar.redteam.attack_measurement import measure_attack
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.attacker_knowledge import hidden_labels
from aar.redteam.knowledge_methods import SURE, method_with_table
from aar.redteam.score_arena import ScoreArena
from aar.redteam.score_oracle import Bits, ProbedSplit, ScoreOracle, make_splits


class SingleFlips:
    """Flips single predictions; it read 500 of 500 labels in 501 calls.

    That was against the released reference code.
    """

    name = "single-flips"
    goal = "learn labels by turning one prediction round at a time"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Flip an item's label if the score rose, then submit the learnt table."""
        splits = await make_splits(arena)
        oracle, first = ScoreOracle(arena, splits), splits[0]
        before = oracle.number(lambda split: split.honest)
        names = first.names[: arena.submissions - 1]
        arena.say(f"{len(names)} flips")
        rose = np.array([oracle.number(partial(flip_prediction, name)) > before for name in names])
        learnt = first.honest[: len(names)] ^ rose
        odds = {int(name).to_bytes(8): SURE if label else -SURE for name, label in zip(names, learnt, strict=True)}
        said = f"{arena.submissions} submissions"
        truth = hidden_labels(first.place.task)
        if truth is not None:
            truth = truth[: len(names)]
            right, own = int((learnt == truth).sum()), int((first.honest[: len(names)] == truth).sum())
            said += f", {right} of {len(names)} labels right after, {own} before"
        return await measure_attack(arena, method_with_table(arena, odds), said)


def flip_prediction(name: np.uint64, split: ProbedSplit) -> Bits:
    return np.asarray(split.honest ^ (split.names == name))
