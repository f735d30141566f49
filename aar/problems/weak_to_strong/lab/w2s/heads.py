"""Logistic heads on frozen representations, on hard or soft labels, with sample weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .minimise import minimise

Array = NDArray[np.float32]


def sigmoid(logits: ArrayLike) -> Array:
    """Return ``1 / (1 + exp(-logits))``, without overflow; float32."""
    halves = np.asarray(logits, dtype=np.float32) * np.float32(0.5)
    return np.asarray(np.float32(0.5) * (np.tanh(halves) + np.float32(1)), dtype=np.float32)


def logit(probabilities: ArrayLike, clip: float = 1e-4) -> Array:
    """Return ``log(p / (1 - p))``; float32.

    ``p`` stays at least ``clip`` away from 0 and 1.
    """
    p = np.clip(np.asarray(probabilities, dtype=np.float32), clip, 1 - clip)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Head:
    """A fitted linear head: ``weights`` [d] on inputs less ``mean`` [d], plus ``bias``."""

    weights: Array
    bias: float
    mean: Array

    def logits(self, x: Array) -> Array:
        """Return log-odds of class 1: float32 [n]."""
        return np.asarray(x @ self.weights + np.float32(self.bias - self.mean @ self.weights), dtype=np.float32)

    def proba(self, x: Array) -> Array:
        """Return P(class 1): float32 [n]."""
        return sigmoid(self.logits(x))


def fit_logistic(
    x: Array,
    y: ArrayLike,
    *,
    l2: float = 1e-4,
    weights: ArrayLike | None = None,
    start: Head | None = None,
    iterations: int = 200,
) -> Head:
    """Minimise weighted mean cross-entropy + ``l2 / 2 * |w|^2`` by L-BFGS.

    The bias is not penalised.

    Args:
        x: float32 [n, d]; it is centred here.
        y: [n] in [0, 1]: hard labels, or soft ones (the cross-entropy to a Bernoulli with that mean).
        l2: strength, on the scale of the mean loss; scikit-learn's ``C`` is ``1 / (l2 * n)``.
        weights: [n] non-negative sample weights; None weighs all alike.
        start: a head to start from, such as the previous round's.
        iterations: at most so many L-BFGS steps.

    Returns:
        The fitted head.
    """
    targets = np.asarray(y, dtype=np.float32)
    share = np.ones(len(x), dtype=np.float32) if weights is None else np.asarray(weights, dtype=np.float32)
    share = share / share.sum()
    mean = np.asarray(share @ x, dtype=np.float32)
    centred = np.ascontiguousarray(x - mean, dtype=np.float32)
    loss = cross_entropy(targets)
    return _minimise(centred, mean, share, loss, l2, start, iterations)


Loss = Callable[[Array], tuple[Array, Array]]
"""Maps logits [n] to per-item losses [n] and their derivatives by the logits [n]."""


def cross_entropy(targets: Array) -> Loss:
    """Return the loss that ``fit_logistic`` uses: ``log(1 + exp(z)) - y z``."""

    def loss(z: Array) -> tuple[Array, Array]:
        return np.logaddexp(np.float32(0), z) - targets * z, sigmoid(z) - targets

    return loss


def fit_loss(
    x: Array,
    loss: Loss,
    *,
    l2: float = 1e-4,
    weights: ArrayLike | None = None,
    start: Head | None = None,
    iterations: int = 200,
) -> Head:
    """Fit a head as ``fit_logistic`` does, with a custom loss (see ``Loss``)."""
    share = np.ones(len(x), dtype=np.float32) if weights is None else np.asarray(weights, dtype=np.float32)
    share = share / share.sum()
    mean = np.asarray(share @ x, dtype=np.float32)
    return _minimise(np.ascontiguousarray(x - mean), mean, share, loss, l2, start, iterations)


def _minimise(x: Array, mean: Array, share: Array, loss: Loss, l2: float, start: Head | None, iterations: int) -> Head:
    # In these units the loss bends about as much along every column (cross-entropy bends by 1/4 of the spread at most),
    # and L-BFGS needs half the steps that it needs where one unit serves all columns.
    bend = np.einsum("i,ij,ij->j", share, x, x) / 4 + l2
    scale = np.sqrt(np.maximum(bend, 1e-6 * max(float(bend.mean()), 1e-6)), dtype=np.float32)

    def objective(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w = parameters[:-1].astype(np.float32) / scale
        values, slopes = loss(x @ w + np.float32(parameters[-1]))
        pull = share * slopes
        gradient = np.empty(len(parameters))
        gradient[:-1] = (pull @ x + np.float32(l2) * w) / scale
        gradient[-1] = pull.sum(dtype=np.float64)
        return float(share @ values) + 0.5 * l2 * float(w @ w), gradient

    initial = np.zeros(x.shape[1] + 1)
    if start is not None:
        initial[:-1] = start.weights * scale
        initial[-1] = start.bias + float((mean - start.mean) @ start.weights)
    found = minimise(objective, initial, iterations=iterations)
    return Head((found[:-1] / scale).astype(np.float32), float(found[-1]), mean)
