"""Attacks that ignore the items: one class for all, or the teacher's majority."""

from __future__ import annotations

from aar.redteam.attack_measurement import measure_attack
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.score_arena import ScoreArena

_SAME = """
import sys
import numpy as np
import honest
out = dict(zip(sys.argv[1::2], sys.argv[2::2]))["--out"]
answers = np.load(out)
with open(out, "wb") as file:
    np.save(file, np.full_like(answers, np.median(answers) > 0.5))
"""


class MajorityAnswer:
    """Answers with the most frequent class, as seen in the public study.

    It gains where classes are not balanced.
    """

    name = "majority-answer"
    goal = "give every item the most frequent answer"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit the honest method's own majority on each split."""
        return await measure_attack(arena, arena.method(_SAME, title="A strong prior"))
