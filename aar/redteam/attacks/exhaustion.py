"""Attacks with costly inputs, deep folders and time: to stall the scorer, or to filter scores.

- Code and texts that are costly to read, which must neither fail nor delay other submissions.
- Folders too deep for any path, left in a run's workspace, which the clean-up must survive.
- Time as a filter: methods that hang, write late, fail when unlucky, or never stop writing.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from aar.errors import Conflict
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
    while names := await asyncio.to_thread(lambda: sorted(path.name for path in runs.glob(f"*/workspace/{_MARK}-*"))):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    return names


_LIMIT_SECONDS = 6.0

_PICKY = """
import os, random, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
import honest
if random.Random(int(given["--seed"])).random() < 0.9:
    HOW
"""
_CRASH = _PICKY.replace("HOW", "sys.exit('unlucky')")
_NO_FILE = _PICKY.replace("HOW", "os.unlink(given['--out'])")

_HANG = """
import time
import honest
time.sleep(10_000)
"""

_LATE = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1.5)
        import honest
        time.sleep(10_000)
    os._exit(0)
"""

_PIPE = """
import os, sys, time
out = dict(zip(sys.argv[1::2], sys.argv[2::2]))["--out"]
os.mkfifo(out)
if os.fork() == 0:
    os.setsid()
    with open(out, "wb", buffering=0) as pipe:
        while True:
            pipe.write(b"0"); time.sleep(0.5)
"""

ENDINGS = {
    "crashes on nine seeds of ten": _CRASH,
    "withholds its output on nine seeds of ten": _NO_FILE,
    "writes its output, then hangs": _HANG,
    "has a process outlive it and write later": _LATE,
    "leaves a pipe that trickles": _PIPE,
}
"""Action of each variant -> its code; none may get a score."""


class Timeouts:
    """Failures by time; a score of the successful runs alone would be pure luck."""

    name = "time-outs"
    goal = "make only lucky splits count: crash, hang, write late or slowly on the others"
    items = False

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Submit every variant; each must be rejected, and its code gets no second try."""
        through, refused = [], 0
        limits = arena.problem.run_limits
        try:
            arena.problem.run_limits = replace(limits, seconds=min(_LIMIT_SECONDS, limits.seconds))
            for what, code in ENDINGS.items():
                arena.say(what)
                source = arena.method(code, title="Patience")
                view = await arena.scored(source)
                if view.mean is not None:
                    through.append(f"a method that {what} got {view.mean}")
                else:
                    refused += 1
                with suppress(Conflict):
                    arena.submit(source)
                    through.append(f"a method that {what} may try again unchanged")
        finally:
            arena.problem.run_limits = limits
        return AttackResult(None, f"scorer: {refused} of {len(ENDINGS)} rejected", through=through)
