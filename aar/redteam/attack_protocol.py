"""What an attack on the score is, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aar.redteam.gain import Gain

if TYPE_CHECKING:
    from aar.redteam.score_arena import ScoreArena


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What came of an attack.

    Args:
        gain: on the sealed split; None where the attack ends before there is a method to measure.
        stopped: by what its method was taken off the board, or never got there; empty where it stands.
        noted: by what it was flagged or labelled while its score stands; empty where nobody noticed.
        through: what must never happen and did, one line each; empty where all held.
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
    controller tells it, and as much patience as it likes. What it never has is the controller's machine.
    """

    name: str
    """Short, for tables and test ids."""
    goal: str
    """What it tries, in one clause."""
    items: bool
    """Whether it works on single test items: only problems with ``test.npy`` and array outputs are open to it."""

    async def make(self, arena: ScoreArena) -> AttackResult:
        """Carry it out against a running scorer, clean room, store and API."""
        ...
