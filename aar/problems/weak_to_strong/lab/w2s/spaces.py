"""Representations: choose layers, principal components, whitening. Fit on one set, apply to any."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Space:
    """An affine map: ``(x - mean) @ axes``, from [n, d] to [n, k]."""

    mean: Array
    axes: Array

    def __call__(self, x: Array) -> Array:
        """Map ``x`` [n, d] to float32 [n, k]."""
        return np.asarray((x - self.mean) @ self.axes, dtype=np.float32)


def pca(x: Array, k: int, *, whiten: bool = False, ridge: float = 1e-4) -> Space:
    """Return the ``k`` leading principal components of ``x`` [n, d].

    Args:
        x: states to fit on.
        k: components kept, at most d.
        whiten: scale every component to unit variance.
        ridge: added to each variance before whitening, as a share of the largest.
    """
    mean = x.mean(axis=0)
    centred = x - mean
    variances, vectors = np.linalg.eigh((centred.T @ centred / len(x)).astype(np.float64))
    leading = np.argsort(variances)[::-1][:k]
    axes = vectors[:, leading]
    if whiten:
        axes = axes / np.sqrt(variances[leading] + ridge * variances.max())
    return Space(np.asarray(mean, dtype=np.float32), np.ascontiguousarray(axes, dtype=np.float32))


def standardise(x: Array, ridge: float = 1e-6) -> Space:
    """Scale each column of ``x`` [n, d] to zero mean and unit variance."""
    scale = 1 / (x.std(axis=0) + np.float32(ridge))
    return Space(np.asarray(x.mean(axis=0), dtype=np.float32), np.diag(scale).astype(np.float32))


def unit_rows(x: Array) -> Array:
    """Scale each row of ``x`` to unit length."""
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def nearest(queries: Array, items: Array, k: int, *, skip_self: bool = False, block: int = 1024) -> NDArray[np.intp]:
    """Return indices of the ``k`` nearest items to each query by cosine: intp [q, k].

    They are in no order.

    Args:
        queries: float32 [q, d].
        items: float32 [n, d].
        k: neighbours per query.
        skip_self: queries are the items themselves, and none counts as its own neighbour.
        block: queries compared at a time; bounds memory.
    """
    q, n = unit_rows(queries), unit_rows(items)
    found = np.empty((len(q), k), dtype=np.intp)
    for start in range(0, len(q), block):
        similarity = q[start : start + block] @ n.T
        if skip_self:
            rows = np.arange(len(similarity))
            similarity[rows, start + rows] = -np.inf
        found[start : start + block] = np.argpartition(similarity, -k, axis=1)[:, -k:]
    return found
