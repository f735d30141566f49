"""Runs all attacks one after the other, and decides which were stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from aar.errors import NotFound
from aar.problems.protocol import Problem
from aar.redteam.attack_protocol import Attack, AttackResult
from aar.redteam.attacks.exhaustion import CostlyToRead, DeepTrees, Timeouts
from aar.redteam.attacks.memorisation import (
    KnownComponents,
    MajorityAnswer,
    MemorisedGuesses,
    OutsideBlend,
    OutsideHead,
    OutsideLabels,
    PriorDirection,
    QuietTable,
)
from aar.redteam.attacks.probing import DirectionProbes, RandomMasks, SeedLuck, SingleFlips, TunedConstants
from aar.redteam.attacks.run_inspection import LookingInside, LuckyFew, StashedState, TwoFaces
from aar.redteam.attacks.tampering import EditedClaims, ForgedResults, ImpostorAttack, Lookalikes, PoisonedSnapshots
from aar.redteam.score_arena import ScoreArena, open_score_arena
from aar.sandbox.protocol import SandboxBackend

ATTACKS: tuple[Attack, ...] = (
    SingleFlips(),
    RandomMasks(),
    DirectionProbes("direction-probes", 256),
    DirectionProbes("veiled-probes", 32),
    MemorisedGuesses(),
    OutsideLabels(),
    OutsideHead(),
    OutsideBlend(),
    QuietTable("quiet-table", None, 1.0),
    QuietTable("quiet-half", 1, 0.93),
    PriorDirection(),
    TunedConstants(),
    SeedLuck(),
    Lookalikes(),
    MajorityAnswer(),
    TwoFaces(),
    LuckyFew(),
    Timeouts(),
    LookingInside(),
    StashedState(),
    DeepTrees(),
    CostlyToRead(),
    PoisonedSnapshots(),
    EditedClaims(),
    ForgedResults(),
    ImpostorAttack(),
)
REMAINING: tuple[Attack, ...] = (KnownComponents(),)
"""Attacks that are known to succeed (docs/attacks.md gives the reasons): made only if they are named."""
_SUMMARY_CHARACTERS = 160
SUBMISSIONS = 240
"""Default submissions of an attacker; a quick campaign allows 16 to all researchers together."""


@dataclass(frozen=True, slots=True)
class AttackOutcome:
    """An attack and its result.

    Args:
        result: None if the attack does not apply to the problem; ``skipped`` says why.
        inside_noise: whether its gain on the sealed split is within noise; None without a gain.
        seconds: wall-clock seconds that it took.
    """

    name: str
    goal: str
    result: AttackResult | None
    skipped: str
    inside_noise: bool | None
    seconds: float

    @property
    def held(self) -> bool:
        """Return True if the attack did not move the score unseen.

        Nothing got through, and every gain beyond noise is marked.

        A gain is answered by taking the method off the board, or by a label or flag beside its score.
        """
        if self.result is None:
            return True
        answered = bool(self.result.stopped or self.result.noted)
        return not self.result.through and (self.inside_noise is not False or answered)

    @property
    def gain_text(self) -> str:
        """Return the gain on the sealed split with its standard error; a dash for none."""
        gain = self.result and self.result.gain
        return f"{gain.mean:+.3f} ± {gain.standard_error:.3f}" if gain else "–"

    @property
    def summary(self) -> str:
        """Return the defence that stopped or marked it, or what got through."""
        result = self.result
        if result is None:
            return self.skipped
        if result.through:
            return f"GOT THROUGH: {'; '.join(result.through)}"[:_SUMMARY_CHARACTERS]
        parts = (result.stopped, f"marked {result.noted}" if result.noted else "")
        text = "; ".join(part for part in parts if part)[:_SUMMARY_CHARACTERS]
        return text or ("" if self.inside_noise is not False else "NOBODY")


async def attack_all(
    problem: Problem,
    backend: SandboxBackend,
    folder: Path,
    *,
    only: Collection[str] = (),
    submissions: int = SUBMISSIONS,
    seeds: int | None = None,
    parallel: int = 2,
    base: str | None = None,
    attacks: Sequence[Attack] = ATTACKS,
    on_step: Callable[[str, str], None] = lambda _name, _step: None,
    on_outcome: Callable[[str, AttackResult | None], None] = lambda _name, _result: None,
) -> list[AttackOutcome]:
    """Attack a problem's scores.

    Args:
        folder: an empty folder for the attacks' files; the caller removes it.
        only: names of attacks, also of those that are known to succeed; empty for all others.
        submissions: by a patient attacker.
        seeds: of a measurement, and draws of the sealed split; None for the problem's.
        base: key of the baseline that attacks start from; None for the last one.
        on_step: called with an attack's name and its current step.
        on_outcome: called with each attack's outcome.

    Raises:
        NotFound: no attack or baseline of that name.
        SandboxUnavailable, SandboxError, ProblemError, DataMissing: as in scoring.
    """
    selected = _chosen(only, attacks)
    baselines = {each.key: each.directory for each in problem.baselines()}
    if base is not None and base not in baselines:
        raise NotFound(f"problem {problem.name} has no baseline {base!r}", f"Known: {', '.join(baselines)}")
    honest = baselines[base or list(baselines)[-1]]
    results: list[tuple[Attack, AttackResult | None, str, float]] = []
    arena = ScoreArena(problem, backend, folder, honest, submissions, seeds or problem.default_seeds, parallel)
    async with open_score_arena(arena) as place:
        with_items = await place.runs.has_items()
        for attack in selected:
            place.say = lambda step, name=attack.name: on_step(name, step)  # type: ignore[misc]
            place.say("")
            begun, result = time.perf_counter(), None
            skipped = "" if with_items or not attack.items else "its outputs are not one value a test item"
            if not skipped:
                result = await attack.make(place)
            results.append((attack, result, skipped, time.perf_counter() - begun))
            on_outcome(attack.name, result)
    comparisons = sum(result is not None and result.gain is not None for _, result, _, _ in results)
    return [
        AttackOutcome(
            attack.name,
            attack.goal,
            result,
            skipped,
            None if result is None or result.gain is None else result.gain.inside_noise(comparisons),
            seconds,
        )
        for attack, result, skipped, seconds in results
    ]


def _chosen(only: Collection[str], attacks: Sequence[Attack]) -> list[Attack]:
    by_name = {attack.name: attack for attack in (*attacks, *REMAINING)}
    for name in only:
        if name not in by_name:
            raise NotFound(f"unknown attack: got {name!r}", f"Known: {', '.join(by_name)}")
    return [attack for attack in by_name.values() if attack.name in only] if only else list(attacks)
