"""Attacks with near-copies of another's method that behave differently.

Their scores and their disqualification must stay their own.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from aar.redteam.attack_protocol import AttackResult
from aar.redteam.score_arena import ScoreArena
from aar.scoring.results.leaderboard import LeaderboardRow, read_leaderboard
from aar.scoring.submission_status import disqualify

_CODE = """
import sys
import numpy as np
import honest
out = dict(zip(sys.argv[1::2], sys.argv[2::2]))["--out"]
if "turned " + "round" in open(__file__).read():
    answers = np.load(out)[::-1]
    with open(out, "wb") as file:
        np.save(file, answers)
"""


class Lookalikes:
    """Copies that differ in comments only, yet answer differently.

    Code can read its own comments.
    """

    name = "lookalikes"
    goal = "move another's score, or have it disqualified, by copies that differ in a comment or not at all"
    items = True

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit a method, a reversed copy, and an equal one that an audit disqualifies.

        The three have different authors.
        """
        source = arena.method(_CODE, title="The original")
        first = await arena.scored(source, 1)
        before = _row(arena, first.number)
        other = await arena.scored(arena.method(f"{_CODE}# turned round\n", title="The original"), 2)
        through = []
        if first.mean is None or other.mean is None or before is None:
            return AttackResult(None, through=["the method or its lookalike was not scored"])
        if _shown(_row(arena, first.number)) != _shown(before):
            through.append("a lookalike's score counts for another's method")
        equal = await arena.scored(Path(shutil.copytree(source, arena.folder / "methods" / "equal")), 3)
        kept = _shown(_row(arena, first.number))
        with arena.db.writing() as session:
            disqualify(session, other.id, "person.suite", "it answers backwards", "human:suite")
            disqualify(session, equal.id, "suite.audit", "an audit says so", "suite")
        after = _row(arena, first.number)
        if after is None or after.submission.disqualified:
            through.append("an audit's verdict on another's copy takes the original off the board")
        elif kept is None or _shown(after) not in (kept, _shown(before)):
            through.append("the original's score moved when copies were disqualified")
        said = f"the original {first.mean:.2f}, its lookalike {other.mean:.2f}"
        return AttackResult(
            None, "" if through else "places by equal files, falls by author", through=through, said=said
        )


def _row(arena: ScoreArena, number: int) -> LeaderboardRow | None:
    with arena.db.reading() as session:
        rows = read_leaderboard(session, arena.campaign, higher_is_better=arena.problem.metric.higher_is_better)
    return next((row for row in rows if row.submission.number == number), None)


def _shown(row: LeaderboardRow | None) -> tuple[float | None, int] | None:
    return None if row is None else (row.submission.mean, row.submission.seeds)
