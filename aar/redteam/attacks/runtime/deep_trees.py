"""Attacks with folders too deep for any path, left in a run's workspace.

The clean-up must survive them.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from aar.redteam.attack_protocol import AttackResult
from aar.redteam.score_arena import ScoreArena

_CLEANED_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_MARK = "aar-deep-trees"

_NEST = """
import os
import honest
for top, names in TREES:
    os.chdir("/workspace")
    for name in (top, *names):
        os.mkdir(name)
        os.chdir(name)
"""

TREES = {
    "nests 1,500 folders": ["d"] * 1500,
    "nests folders to a path of 6,000 bytes": ["x" * 250] * 24,
}
"""Action of each variant -> names of nested folders."""


class DeepTrees:
    """Deep trees that must not end a campaign by its clean-up."""

    name = "deep-trees"
    goal = "end the scorer, or fill the host, by folders that nest too deep to be removed the usual way"
    items = False

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit every variant, and both at once; each is scored and leaves nothing.

        Each must be scored like the honest method.
        """
        through, scored = [], 0
        variants = {what: [names] for what, names in TREES.items()} | {"does both": list(TREES.values())}
        for what, trees in variants.items():
            arena.say(what)
            code = _NEST.replace("TREES", repr([(f"{_MARK}-{i}", names) for i, names in enumerate(trees)]))
            view = await arena.scored(arena.method(code, title="A forest"))
            if view.mean is None:
                through.append(f"a method that {what} was not scored: {view.verdict[-200:]}")
            scored += view.mean is not None
        left = await _left(arena.folder / "scorer" / "runs")
        through += [f"{name} stays on this machine" for name in left]
        stopped = "" if through else f"scorer: {scored} of {len(variants)} scored, nothing left"
        return AttackResult(None, stopped, through=through)


async def _left(runs: Path) -> list[str]:
    """List the trees that are still on this machine after the clean-up."""
    deadline = time.monotonic() + _CLEANED_SECONDS
    while found := await asyncio.to_thread(lambda: sorted(path.name for path in runs.glob(f"*/workspace/{_MARK}-*"))):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    return found
