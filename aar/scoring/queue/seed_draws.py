"""Draws seeds and splits from a campaign's secret, after a submission is frozen.

The secret never leaves the controller.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass


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
