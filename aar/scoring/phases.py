"""The phases of scoring runs, and the draws of their seeds and splits.

Seeds and splits are drawn from a campaign's secret, after a submission is frozen. The secret never leaves the
controller.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from aar.problems.protocol import Corruption, Stage

CONFIRMATION = "confirmation"
TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class Phase:
    """A kind of scoring run.

    Args:
        stage: the purpose of its splits.
        corruption: how the task is changed before the method runs; None leaves it as it is.
    """

    stage: Stage
    corruption: Corruption | None = None

    @property
    def key(self) -> str:
        """Return the value of ``scoring_run.stage`` and ``stage_estimate.stage`` for this phase."""
        return str(self.stage) if self.corruption is None else self.corruption.key

    @property
    def draw_series(self) -> str:
        """Return the name of the series that its seeds and splits come from.

        A change of coordinates is seen best on the very splits and seeds of the undisturbed runs.
        """
        return str(self.stage) if self.corruption is not None and self.corruption.coordinates else self.key


MEASURE = Phase(Stage.MEASURE)
CONFIRM = Phase(Stage.CONFIRM)
ON_TRANSFER_DOMAINS = Phase(Stage.TRANSFER)
PERMUTED = Phase(Stage.MEASURE, Corruption(permute=True))
IN_NEW_COORDINATES = Phase(Stage.CONFIRM, Corruption(coordinates=True))
"""The confirmation's own splits and seeds, in other coordinates."""
DECISIVE = (MEASURE, CONFIRM, ON_TRANSFER_DOMAINS)
"""Phases in which a failed run decides; in the others the audit that needs the phase judges it."""


def noise_phase(share: float) -> Phase:
    """Return the phase with a ``share`` of the teacher's labels turned.

    Its splits are of the measurement's kind.
    """
    return Phase(Stage.MEASURE, Corruption(noise=share))


def phase_of(key: str) -> Phase:
    """Return the phase of a key. Raises ValueError for an unknown key."""
    if key == PERMUTED.key:
        return PERMUTED
    if key == IN_NEW_COORDINATES.key:
        return IN_NEW_COORDINATES
    if key.startswith("noise-"):
        return noise_phase(int(key.removeprefix("noise-")) / 100)
    return Phase(Stage(key))


@dataclass(frozen=True, slots=True)
class SeedDraw:
    """The seeds of one scoring run.

    Args:
        seed: the ``--seed`` that the method gets; 31 bits, so that any library takes it.
        split_seed: the problem draws the split with it; 63 bits.
    """

    seed: int
    split_seed: int


def draw_seeds(secret: str, phase: str, number: int, digest: str, index: int) -> SeedDraw:
    """Draw the seeds of one run; the same arguments give the same draw.

    It cannot be predicted without ``secret``.

    HMAC-SHA256 (RFC 2104) as a pseudo-random function of ``phase:number:digest:index``. It depends on the frozen
    code's digest, so a different method never meets a split that was tried out with another.

    Args:
        secret: the campaign's secret.
        phase: the key of the run's phase; one phase's draws reveal nothing about another's.
        number: the submission's number in its campaign.
        digest: digest of the frozen code.
        index: the run's index within the phase, from 0.
    """
    block = hmac.new(secret.encode(), f"{phase}:{number}:{digest}:{index}".encode(), hashlib.sha256).digest()
    return SeedDraw(seed=int.from_bytes(block[:4]) >> 1, split_seed=int.from_bytes(block[8:16]) >> 1)
