"""Attacks with code and texts that are costly to read.

Reading them must neither fail nor delay other submissions.
"""

from __future__ import annotations

import asyncio
import time

from aar.redteam.attack_protocol import AttackResult
from aar.redteam.score_arena import ScoreArena

_LONGEST_STALL_SECONDS = 5.0
_BEAT_SECONDS = 0.05

VARIANTS = {
    "chains names in long lines": "if 0:\n" + ("    q" + ".a" * 800 + "\n") * 20 + "import honest\n",
    "holds programs in texts": "if 0:\n" + "    exec('a=b.c\\n'*16000)\n" * 12 + "import honest\n",
    "nests brackets": "0 and " + "[" * 80 + "]" * 80 + "\nimport honest\n",
    "is too long to read": "import honest\n" + "".join(f"a{n} = str({n})\n" for n in range(12_000)),
    "crashes with slashes": "import sys\nprint('/' * 16000)\nsys.exit(1)\n",
    "crashes with letters": "import sys\nprint('x' * 100000, file=sys.stderr)\nsys.exit(1)\n",
    "crashes with brackets": "import sys\nprint('![' * 20000)\nsys.exit(1)\n",
}
"""Action of each variant -> its code."""


class CostlyToRead:
    """All costly inputs at once, before another author's honest method."""

    name = "dear-to-read"
    goal = "stall or end the scorer by code and error texts that take minutes to analyse"
    items = False

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit them; each must get a verdict, the honest one a score.

        The scorer's loop must go on meanwhile.
        """
        arena.say(f"{len(VARIANTS)} at once")
        reading, arena.reading = arena.reading, True
        beats = asyncio.create_task(_longest_stall())
        try:
            sent = {what: arena.submit(arena.method(code, title=what)).number for what, code in VARIANTS.items()}
            honest = await arena.scored(arena.method("import honest\n# beside the others\n", title="Honest"), 2)
            views = {what: await arena.verdict_on(number) for what, number in sent.items()}
        finally:
            arena.reading = reading
            beats.cancel()
            stalled = await beats
        crashed = {what for what in VARIANTS if what.startswith("crashes")}
        through = [
            f"a method that {what} ended as {view.state}"
            for what, view in views.items()
            if (view.mean is None) != (what in crashed)
        ]
        if honest.mean is None:
            through.append(f"the honest method was not scored: {honest.verdict[-200:]}")
        if stalled > _LONGEST_STALL_SECONDS:
            through.append(f"the scorer's loop stood still for {stalled:.1f} s")
        stopped = "" if through else f"scorer: {len(views)} of {len(VARIANTS)} judged, the honest one scored"
        return AttackResult(None, stopped, through=through)


async def _longest_stall() -> float:
    """Measure the longest delay of the loop in seconds, until cancelled."""
    longest = 0.0
    try:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(_BEAT_SECONDS)
            longest = max(longest, time.monotonic() - begun - _BEAT_SECONDS)
    except asyncio.CancelledError:
        return longest
