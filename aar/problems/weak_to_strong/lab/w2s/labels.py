"""Label sources and their repair: confidence, neighbours, out-of-fold relabelling, noisy channel, prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .data import Data
from .heads import Head, fit_logistic, logit, sigmoid
from .spaces import nearest

Array = NDArray[np.float32]


def harden(probabilities: ArrayLike, *, share: float | None = None) -> Array:
    """Return 0/1 labels: above one half, or the top ``share`` of them.

    With ``share`` 0.5 that is the upper half, whatever its level.
    """
    p = np.asarray(probabilities, dtype=np.float32)
    threshold = 0.5 if share is None else float(np.quantile(p, 1 - share))
    return (p > threshold).astype(np.float32)


def confidence(probabilities: ArrayLike) -> Array:
    """Return the distance of each P from undecided.

    0 at one half, 1 at certainty; float32 [n].
    """
    return np.abs(2 * np.asarray(probabilities, dtype=np.float32) - 1)


def most_confident(probabilities: ArrayLike, share: float, *, per_class: bool = True) -> NDArray[np.intp]:
    """Return indices of the ``share`` most confident items.

    They are taken from each predicted class alike by default.
    """
    p = np.asarray(probabilities, dtype=np.float32)
    if not per_class:
        return np.argsort(-confidence(p), kind="stable")[: max(1, round(share * len(p)))]
    upper = np.argsort(-p, kind="stable")
    each = max(1, round(share * len(p) / 2))
    return np.concatenate([upper[:each], upper[-each:]])


def standard_logits(logits: ArrayLike) -> Array:
    """Shift logits to median 0 and scale them to unit standard deviation.

    Sources can then be added.
    """
    z = np.asarray(logits, dtype=np.float32)
    return np.asarray((z - np.median(z)) / max(float(z.std()), 1e-12), dtype=np.float32)


def zero_shot_logits(
    data: Data, x: Array, *, layers: Sequence[int] | None = None, phrasings: Sequence[int] | None = None
) -> Array:
    """Return log-odds of class 1 along the direction between the two classes' prompts.

    The direction lies in the student's space.

    Args:
        data: the bundle; its pool sets the origin and the scale (median 0, unit deviation).
        x: states to judge: float32 [m, d].
        layers: layers to use; all by default.
        phrasings: prompt pairs to average; all by default.

    Returns:
        float32 [m].
    """
    columns = data.columns(layers)
    chosen = list(range(data.prompts.shape[1])) if phrasings is None else list(phrasings)
    ends = data.prompts[:, chosen][:, :, columns].mean(axis=1)
    direction = ends[1] - ends[0]
    pool = data.train[:, columns] @ direction
    z = (x[:, columns] @ direction - np.median(pool)) / max(float(pool.std()), 1e-12)
    return np.asarray(z, dtype=np.float32)


def knn_denoise(x: Array, labels: ArrayLike, *, k: int = 30, self_share: float = 0.0) -> Array:
    """Blend each label with the mean label of its ``k`` neighbours (cosine in ``x``)."""
    y = np.asarray(labels, dtype=np.float32)
    around = y[nearest(x, x, k, skip_self=True)].mean(axis=1)
    return np.asarray(self_share * y + (1 - self_share) * around, dtype=np.float32)


def cross_fit(
    x: Array,
    labels: ArrayLike,
    *,
    rng: np.random.Generator,
    folds: int = 5,
    l2: float = 1e-4,
    weights: ArrayLike | None = None,
) -> Array:
    """Return out-of-fold log-odds; float32 [n].

    Each item is judged by a head that was not trained on its label.
    """
    y = np.asarray(labels, dtype=np.float32)
    share = np.ones(len(y), dtype=np.float32) if weights is None else np.asarray(weights, dtype=np.float32)
    judged = np.empty(len(y), dtype=np.float32)
    for held in np.array_split(rng.permutation(len(y)), folds):
        kept = np.setdiff1d(np.arange(len(y)), held)
        judged[held] = fit_logistic(x[kept], y[kept], l2=l2, weights=share[kept]).logits(x[held])
    return judged


def noisy_channel(
    x: Array,
    weak: ArrayLike,
    *,
    rng: np.random.Generator,
    bins: int = 8,
    rounds: int = 6,
    l2: float = 1e-3,
    folds: int = 3,
) -> Array:
    """Return the EM posterior of the true label.

    A head gives the prior P(y | x), a channel P(weak score's bin | y).

    The E step multiplies the two; the M step refits the head on the posterior and recounts the channel. The prior
    is out-of-fold, or a flexible head would only confirm the labels that it was given.
    (Dawid and Skene 1979; Raykar et al. 2010, with one annotator and a binned score.)

    Args:
        x: float32 [n, d].
        weak: P(class 1) by the teacher [n].
        rng: draws the folds.
        bins: quantile bins of the weak score.
        rounds: EM rounds.
        l2: strength of the head.
        folds: folds for the out-of-fold prior.

    Returns:
        P(y = 1 | x, weak): float32 [n].
    """
    p = np.asarray(weak, dtype=np.float32)
    edges = np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1])
    cell = np.searchsorted(edges, p)
    posterior = p.copy()
    for _ in range(rounds):
        prior = cross_fit(x, posterior, rng=rng, folds=folds, l2=l2)
        ones = np.bincount(cell, weights=posterior, minlength=bins) + 1
        zeros = np.bincount(cell, weights=1 - posterior, minlength=bins) + 1
        evidence = np.log(ones / ones.sum()) - np.log(zeros / zeros.sum())
        posterior = sigmoid(prior + evidence[cell])
    return posterior


def auxiliary_confidence(
    x: Array, weak: ArrayLike, *, alpha: float = 0.5, rounds: int = 5, l2: float = 1e-4, start: Head | None = None
) -> Head:
    """Train a head on weak labels blended with its own hardened predictions.

    See Burns et al. 2023, eq. 1.

    ``(1 - a) CE(f, weak) + a CE(f, f > t)``, with ``t`` the head's median on the pool, so that the hardened labels
    stay balanced, and ``a`` rising linearly to ``alpha`` over the rounds. The hardened targets are renewed once a
    round.
    """
    y = np.asarray(weak, dtype=np.float32)
    head = start or fit_logistic(x, y, l2=l2)
    for step in range(1, rounds + 1):
        share = alpha * step / rounds
        own = harden(sigmoid(head.logits(x)), share=0.5)
        head = fit_logistic(x, (1 - share) * y + share * own, l2=l2, start=head)
    return head


def blend(*sources: tuple[ArrayLike, float]) -> Array:
    """Return P(class 1) from a weighted sum of standardised logits.

    The arguments are pairs of (logits [n], weight).
    """
    total = sum(weight * standard_logits(logits) for logits, weight in sources)
    return sigmoid(np.asarray(total, dtype=np.float32))


def weak_logits(data: Data) -> Array:
    """Return the teacher's log-odds on the pool: float32 [n]."""
    return logit(data.weak)
