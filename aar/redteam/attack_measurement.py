"""Measures an attacker's method: submits it, and compares it on the sealed split.

It is compared with the honest method.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from aar.redteam.attack_protocol import AttackResult
from aar.redteam.score_arena import ScoreArena


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
    shown = "no score" if view.mean is None else f"shown {view.mean:.2f} ± {view.standard_error:.2f}"
    result = AttackResult(None, stopped, noted, said=", ".join(part for part in (said, shown) if part))
    if isinstance(gain, str):
        return replace(result, stopped=stopped or "fails on the sealed split")
    return replace(result, gain=gain)
