"""Seeds and splits, drawn after a submission is frozen from a secret that never leaves the controller."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SeedDraw:
    """What one scoring run is run with.

    Args:
        seed: the ``--seed`` that the method gets; 31 bits, so that any library takes it.
        split_seed: what the problem draws the split with; 63 bits.
    """

    seed: int
    split_seed: int


def draw_seeds(secret: str, phase: str, number: int, digest: str, index: int) -> SeedDraw:
    """The draw of one run: the same arguments give the same draw, and nobody without ``secret`` can foretell it.

    HMAC-SHA256 (RFC 2104) as a pseudo-random function of ``phase:number:digest:index``. It depends on the frozen
    code's digest, so a different method never meets a split that was tried out with another.

    Args:
        secret: the campaign's secret.
        phase: the key of what the run is for; one phase's draws say nothing of another's.
        number: the submission's number in its campaign.
        digest: digest of the frozen code.
        index: the run's index within the phase, from 0.
    """
    block = hmac.new(secret.encode(), f"{phase}:{number}:{digest}:{index}".encode(), hashlib.sha256).digest()
    return SeedDraw(seed=int.from_bytes(block[:4]) >> 1, split_seed=int.from_bytes(block[8:16]) >> 1)
