"""Random rotations of the student's states, different in every split.

Nothing learnt about one split's columns is then valid in another.

Lengths, angles and principal components stay as they are, and so does every method that works with those. Weights for
single columns, and rows recognised by their content, are valid in the split that they were made on and in no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aar.problems.blas_threads import use_one_blas_thread
from aar.problems.protocol import Stage
from aar.problems.weak_to_strong.splits import STAGE_KEYS

_PURPOSE = 0x7475726E
"""Separates these draws from those of a split's rows."""
RESEARCH_SPLIT = 0
"""Split seed of the bundles that researchers have at ``/data``, whose coordinates are the only ones they can know."""


@dataclass(frozen=True, slots=True)
class CoordinateFrame:
    """The coordinates of one split: an orthogonal matrix for the columns of each layer.

    Args:
        turns: by the (start, stop) columns of a layer, float32 [width, width].
    """

    turns: Mapping[tuple[int, int], NDArray[np.float32]]

    def write(self, states: NDArray[np.float32]) -> NDArray[np.float16]:
        """Return states [..., d] in these coordinates.

        Rounding to float16 moves a number by 0.0001 or less.
        """
        turned = np.empty(states.shape, dtype=np.float16)
        for (start, stop), turn in self.turns.items():
            turned[..., start:stop] = states[..., start:stop] @ turn
        return turned


def draw_coordinates(
    domain: str, stage: Stage, split_seed: int, layers: Mapping[int, tuple[int, int]]
) -> CoordinateFrame:
    """Draw the coordinates of a split, uniformly among rotations and reflections.

    Each layer has its own draw (Mezzadri 2007).
    """
    use_one_blas_thread()
    rng = np.random.default_rng([_PURPOSE, STAGE_KEYS[stage], split_seed & (2**64 - 1), *domain.encode()])
    turns = {}
    for start, stop in layers.values():
        orthogonal, upper = np.linalg.qr(rng.standard_normal((stop - start, stop - start)))
        turns[start, stop] = (orthogonal * np.sign(np.diag(upper))).astype(np.float32)
    return CoordinateFrame(turns)
