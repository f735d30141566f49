"""Performance gap recovered, pooled over splits and domains, with an honest standard error.

On split s let m, w and c be the test accuracies of the method, the weak teacher and the strong ceiling. PGR
(Burns et al. 2023, section 3) is pooled within a domain as a ratio of sums, which a split with
a small gap cannot blow up::

    R = sum_s (m_s - w_s) / sum_s (c_s - w_s)

and the score is the mean of R over domains. By the delta method (Cochran 1977, section 2.11) the error of R is that of
the mean residual ``e_s = (m_s - w_s) - R (c_s - w_s)``, divided by the mean gap G. It has two sources, kept apart::

    Var(R) = [ max(S, v/n - v/N) / k  +  v/N ] / G^2

- ``S``, the variance of e_s between the k splits: teacher draw, training pool, seed, and choice of test items;
- ``v``, the variance over single test items of ``M - W - R (C - W)`` (M, W, C: right or wrong). The n test items of a
  split come from N rows in all. Every split shares those rows, so ``v/N`` does not shrink with k (a fixed test set has
  n = N); ``v/n - v/N``, the part that a fresh draw does average out, is a floor under S, so that two to four splits
  that agree by luck do not give a tiny error.

With k = 1 there is no S: the floor stands in, and the error covers the items alone.

The 90 % interval is ``score +/- t SE`` with Student's t at the Welch-Satterthwaite degrees of freedom (Satterthwaite
1946): k - 1 for each between-split term, (items - 1) for each item term; with k = 1 the items' degrees alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from aar.errors import ProblemError
from aar.problems.protocol import Estimate
from aar.problems.statistics import Term, estimate

PATTERNS = tuple(product((0, 1), repeat=3))
"""All (method right, weak right, ceiling right); a task's parts count its test items by them."""


def count_patterns(
    method: NDArray[np.bool_], weak: NDArray[np.bool_], ceiling: NDArray[np.bool_], universe: int
) -> dict[str, float]:
    """A task's parts: items by pattern (``mwc_101`` ...), ``universe``, and the three accuracies.

    Args:
        method, weak, ceiling: whether each test item was right: bool [n].
        universe: how many rows the test items were drawn from; n where the test set is fixed.
    """
    code = method.astype(int) * 4 + weak.astype(int) * 2 + ceiling.astype(int)
    counts = np.bincount(code, minlength=8)
    parts = {_key(pattern): float(count) for pattern, count in zip(PATTERNS, counts, strict=True)}
    return parts | {
        "universe": float(universe),
        "method_accuracy": float(method.mean()),
        "weak_accuracy": float(weak.mean()),
        "ceiling_accuracy": float(ceiling.mean()),
    }


def pool_domain(splits: Sequence[Mapping[str, float]]) -> tuple[float, list[Term]]:
    """PGR over the splits of one domain, and its sources of error.

    Raises:
        ProblemError: the ceiling is not above the weak teacher, so that there is no gap to recover.
    """
    counts = np.array([[parts[_key(pattern)] for pattern in PATTERNS] for parts in splits])
    items = counts.sum(axis=1)
    right = np.array(PATTERNS, dtype=float)
    accuracies = counts @ right / items[:, None]
    gained, gap = accuracies[:, 0] - accuracies[:, 1], accuracies[:, 2] - accuracies[:, 1]
    if gap.sum() <= 0:
        raise ProblemError("the ceiling is not above the weak teacher on these splits: there is no gap to recover")
    ratio = float(gained.sum() / gap.sum())
    k, mean_gap = len(splits), float(gap.mean())

    per_pattern = (right[:, 0] - right[:, 1]) - ratio * (right[:, 2] - right[:, 1])
    pooled = counts.sum(axis=0) / counts.sum()
    item_variance = float(pooled @ per_pattern**2 - (pooled @ per_pattern) ** 2)
    per_split = float((item_variance / items).mean())
    shared = item_variance / float(np.mean([parts["universe"] for parts in splits]))
    redrawn = max(per_split - shared, 0.0)
    item_freedom = max(float(items.mean()) - 1, 1.0)
    item_term = Term(shared / mean_gap**2, item_freedom)
    if k == 1:
        return ratio, [Term(redrawn / mean_gap**2, item_freedom), item_term]
    between = float(((gained - ratio * gap) ** 2).sum() / (k - 1))
    return ratio, [Term(max(between, redrawn) / k / mean_gap**2, k - 1), item_term]


def pool_domains(by_domain: Mapping[str, Sequence[Mapping[str, float]]]) -> Estimate:
    """The mean of the domains' PGR with its standard error and interval. Raises ProblemError."""
    if not by_domain or not all(by_domain.values()):
        raise ProblemError("there is no task score to pool")
    pooled = {domain: pool_domain(splits) for domain, splits in by_domain.items()}
    share = 1 / len(pooled)
    terms = [term.scaled(share) for _, terms in pooled.values() for term in terms]
    mean = math.fsum(ratio for ratio, _ in pooled.values()) * share
    parts = {domain: estimate(*pooled[domain], len(splits)) for domain, splits in by_domain.items()}
    return estimate(mean, terms, sum(len(splits) for splits in by_domain.values()), parts)


def _key(pattern: tuple[int, ...]) -> str:
    return "mwc_" + "".join(str(bit) for bit in pattern)
