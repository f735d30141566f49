"""Attacks that use time as a filter: hang, write late, fail when unlucky.

Some never stop writing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from aar.errors import Conflict
from aar.redteam.attack_protocol import AttackResult
from aar.redteam.score_arena import ScoreArena

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
