"""The interface of attacks on scores, their results, and how a method's gain is measured.

An attacker's method is submitted, and compared with the honest method on the sealed split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from aar.redteam.gain import Gain
from aar.redteam.score_arena import ScoreArena


@dataclass(frozen=True, slots=True)
class AttackResult:
    """The result of one attack.

    Args:
        gain: on the sealed split; None if the attack ends before there is a method to measure.
        stopped: the reason that its method is not on the board; empty if it is.
        noted: the flags or labels beside a score that stays on the board; empty if there are none.
        through: violations of guarantees, one line each; empty if there were none.
        said: one line of figures for the table's footnotes.
    """

    gain: Gain | None = None
    stopped: str = ""
    noted: str = ""
    through: Sequence[str] = ()
    said: str = ""


class Attack(Protocol):
    """One way to a higher score without the science.

    The attacker has a researcher's powers: its own sandbox, tools, tokens and submissions, everything that the
    controller sends to it, and unlimited patience. It never has the controller's machine.
    """

    name: str
    """Short, for tables and test ids."""
    goal: str
    """Its aim, in one clause."""
    items: bool
    """True if it works on single test items; it then needs a problem with ``test.npy`` and array outputs."""

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Carry the attack out against a running scorer, clean room, store and API."""
        ...


async def measure_attack(
    arena: ScoreArena, source: Path, said: str = "", *, read: bool = True, confirm: bool = False
) -> AttackResult:
    """Submit a method, run its audits, and measure its gain on the sealed split.

    Args:
        read: whether its code is read first.
        confirm: whether a measured one is confirmed, with the audits of teacher and coordinates.
    """
    arena.say("on the sealed split")
    gain = await arena.runs.gain(source)
    arena.reading = read
    view = await arena.scored(source)
    arena.reading = False
    if confirm and view.state == "measured":
        arena.say("confirmation")
        await arena.confirmed(view.number)
    stopped, noted = arena.findings(view.number)
    if view.state != "measured":
        stopped = stopped or view.verdict.partition(": ")[2].partition(" The end of")[0].splitlines()[0]
    score = "no score" if view.mean is None else f"shown {view.mean:.2f} ± {view.standard_error:.2f}"
    result = AttackResult(None, stopped, noted, said=", ".join(part for part in (said, score) if part))
    if isinstance(gain, str):
        return replace(result, stopped=stopped or "fails on the sealed split")
    return replace(result, gain=gain)
