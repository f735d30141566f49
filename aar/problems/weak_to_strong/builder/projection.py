"""Compression of the student's states: rotate, retain the leading directions, round to int8.

Each layer is centred and rotated on its own principal axes, fitted on all texts and no label; the leading 192 of 384
axes carry 88 to 96 % of its variance. One rounding step for all axes leaves distances alone and makes the trailing axes
cheap to compress. ``docs/problems.md`` gives the loss of accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEPT = 192
"""Axes retained per layer."""
STEP = 0.01
"""Rounding step of the states and of the teacher's features."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A projection of the student's states.

    Per-layer ``mean`` [layer, 384] and orthonormal ``axes`` [layer, 384, kept], both float16 as shipped.
    """

    mean: NDArray[np.float16]
    axes: NDArray[np.float16]

    def apply(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project states [n, layer, 384] to blocks side by side: float32 [n, layer * kept]."""
        centred = states - self.mean.astype(np.float32)
        blocks = [centred[:, layer] @ self.axes[layer].astype(np.float32) for layer in range(states.shape[1])]
        return np.concatenate(blocks, axis=1)


def fit_projection(states: NDArray[np.float32], kept: int = KEPT) -> Projection:
    """Return the principal axes of each layer of ``states`` [n, layer, width].

    The largest entry of each axis is made positive.
    """
    mean = states.mean(axis=0).astype(np.float16)
    axes = []
    for layer in range(states.shape[1]):
        centred = (states[:, layer] - mean[layer].astype(np.float32)).astype(np.float64)
        _, vectors = np.linalg.eigh(centred.T @ centred)
        leading = vectors[:, ::-1][:, :kept]
        signs = np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(leading.shape[1])])
        axes.append((leading * signs).astype(np.float16))
    return Projection(mean, np.stack(axes))


def quantise(values: NDArray[np.float32], step: float = STEP) -> NDArray[np.int8]:
    """Round to multiples of ``step``, clipped to int8."""
    steps = np.clip(np.rint(values / np.float32(step)), -127, 127)
    return np.asarray(steps, dtype=np.int8)
