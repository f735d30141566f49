"""Performance gap recovered, pooled over splits and domains, with an honest standard error.

On split s let m, w and c be the test accuracies of the method, the weak teacher and the strong ceiling. PGR
(Burns et al. 2023, section 3) is pooled within a domain as a ratio of sums, which a split with
a small gap cannot blow up::

    R = sum_s (m_s - w_s) / sum_s (c_s - w_s)

and the score is the mean of R over domains. By the delta method (Cochran 1977, section 2.11) the error of R is that of
the mean residual ``e_s = (m_s - w_s) - R (c_s - w_s)``, divided by the mean gap G. It has two separate sources::

    Var(R) = [ max(S, v/n - U) / k  +  U ] / G^2

- ``S``, the variance of e_s between the k splits: teacher draw, training pool, seed, and choice of test items;
- ``U``, the variance of the N rows that all splits draw their n test items from (a fixed test set has n = N): it does
  not shrink with k. With ``v`` the variance over single test items of ``M - W - R (C - W)`` (M, W, C: right or wrong),
  it is at most ``v/N``, and that only where an item that is hard once is always hard. Teachers and methods trained on
  other draws err on other items too, so U is estimated: rows are in 16 fixed groups, and a covariance of two splits'
  residuals by group can come from shared rows alone. With ``d_sg`` the mean residual of split s in group g, less the
  mean over groups, ``U = mean over pairs s < t of sum_g(d_sg d_tg) / (15 * 16)``, limited to 0 to ``v/N`` (a covariance
  estimate as in random groups, Wolter 2007, chapter 2). ``v/n - U``, the part of the items' variance that a fresh draw
  does average out, is a floor under S, so that two to four splits that agree by luck do not give a tiny error.

With k = 1 there is no S and ``U = v/N``: the floor stands in, and the error covers the items alone.

The 90 % interval is ``score +/- t SE`` with Student's t at the Welch-Satterthwaite degrees of freedom (Satterthwaite
1946): k - 1 for each between-split term, (items - 1) for each item term and for a floor that stands in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from aar.errors import ProblemError
from aar.problems.protocol import Estimate, OutputRejected
from aar.problems.statistics import VarianceTerm, make_estimate

PATTERNS = tuple(product((0, 1), repeat=3))
"""All (method right, weak right, ceiling right); a task's parts count its test items by them."""


GROUPS = 16
"""Number of fixed groups of a domain's rows, by row number; see ``U`` above."""


def count_patterns(
    method: NDArray[np.bool_],
    weak: NDArray[np.bool_],
    ceiling: NDArray[np.bool_],
    universe: int,
    rows: NDArray[np.intp] | None = None,
) -> dict[str, float]:
    """Count a task's test items by pattern (``mwc_101`` ...) and by group.

    The parts also hold ``universe`` and the three accuracies.

    Args:
        method, weak, ceiling: True for each test item that was right: bool [n].
        universe: number of rows that the test items were drawn from; n where the test set is fixed.
        rows: each test item's number in its domain, whose order must be random; without it there are no groups.
    """
    code = method.astype(int) * 4 + weak.astype(int) * 2 + ceiling.astype(int)
    counts = np.bincount(code, minlength=8)
    parts = {_key(pattern): float(count) for pattern, count in zip(PATTERNS, counts, strict=True)}
    if rows is not None:
        for name, values in (("items", None), ("method", method), ("weak", weak), ("ceiling", ceiling)):
            sums = np.bincount(rows % GROUPS, weights=values, minlength=GROUPS)
            parts |= {f"{name}_{group:02d}": float(total) for group, total in enumerate(sums)}
    return parts | {
        "universe": float(universe),
        "method_accuracy": float(method.mean()),
        "weak_accuracy": float(weak.mean()),
        "ceiling_accuracy": float(ceiling.mean()),
    }


def pool_domain(splits: Sequence[Mapping[str, float]]) -> tuple[float, list[VarianceTerm]]:
    """Pool PGR over the splits of one domain, with its sources of error.

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
    most = item_variance / float(np.mean([parts["universe"] for parts in splits]))
    shared = min(max(_shared_variance(splits, ratio, most), 0.0), most)
    redrawn = max(per_split - shared, 0.0)
    item_freedom = max(float(items.mean()) - 1, 1.0)
    item_term = VarianceTerm(shared / mean_gap**2, item_freedom)
    if k == 1:
        return ratio, [VarianceTerm(redrawn / mean_gap**2, item_freedom), item_term]
    between = float(((gained - ratio * gap) ** 2).sum() / (k - 1))
    variance, freedom = (between, k - 1.0) if between > redrawn else (redrawn, item_freedom)
    return ratio, [VarianceTerm(variance / k / mean_gap**2, freedom), item_term]


def _shared_variance(splits: Sequence[Mapping[str, float]], ratio: float, otherwise: float) -> float:
    """Return ``U``.

    Returns ``otherwise`` where there is one split, or one was counted without groups.
    """
    if len(splits) < 2 or any("items_00" not in parts for parts in splits):
        return otherwise
    items, method, weak, ceiling = (
        np.array([[parts[f"{name}_{group:02d}"] for group in range(GROUPS)] for parts in splits])
        for name in ("items", "method", "weak", "ceiling")
    )
    if not items.all():
        return otherwise
    apart = ((method - weak) - ratio * (ceiling - weak)) / items
    apart -= apart.mean(axis=1, keepdims=True)
    k = len(splits)
    pairs = float((apart.sum(axis=0) ** 2).sum() - (apart**2).sum()) / (k * (k - 1))
    return pairs / (GROUPS - 1) / GROUPS


def pool_domains(by_domain: Mapping[str, Sequence[Mapping[str, float]]]) -> Estimate:
    """Return the mean of the domains' PGR with its standard error and interval.

    Raises ProblemError.
    """
    if not by_domain or not all(by_domain.values()):
        raise ProblemError("there is no task score to pool")
    pooled = {domain: pool_domain(splits) for domain, splits in by_domain.items()}
    share = 1 / len(pooled)
    terms = [term.scaled(share) for _, terms in pooled.values() for term in terms]
    mean = math.fsum(ratio for ratio, _ in pooled.values()) * share
    parts = {domain: make_estimate(*pooled[domain], len(splits)) for domain, splits in by_domain.items()}
    return make_estimate(mean, terms, sum(len(splits) for splits in by_domain.values()), parts)


def _key(pattern: tuple[int, ...]) -> str:
    return "mwc_" + "".join(str(bit) for bit in pattern)


def read_predictions(path: Path, items: int, limit: int) -> NDArray[np.bool_]:
    """Read predicted classes from a ``.npy`` file of P(class 1) or 0/1.

    Args:
        path: the output file.
        items: expected number of predictions.
        limit: bytes the file may have.

    Returns:
        True where class 1 is predicted (above one half): bool [items].

    Raises:
        OutputRejected: the file cannot be scored; the text is for the researcher.
    """
    if path.is_symlink() or not path.is_file():
        raise OutputRejected("the method wrote no output file: write an array of predictions to the path of --out")
    if path.stat().st_size > limit:
        raise OutputRejected(f"the output file has {path.stat().st_size:,} bytes; {limit:,} are allowed")
    with path.open("rb") as file:
        try:
            version = npy.read_magic(file)
            header = npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
        except (ValueError, EOFError, TypeError, SyntaxError, OverflowError, MemoryError) as error:
            raise OutputRejected("the output file is not an array written by numpy.save to a .npy file") from error
        shape, _, dtype = header
        if dtype.hasobject or dtype.kind not in "buif":
            raise OutputRejected(f"the output array holds {dtype}; booleans, integers or floats are expected")
        if shape != (items,):
            raise OutputRejected(f"the output array has shape {shape}; ({items},) is expected, one value a test item")
        content = file.read()
    if len(content) != items * dtype.itemsize:
        raise OutputRejected("the output file is cut short or has bytes after its array")
    values = np.frombuffer(content, dtype=dtype).astype(np.float64)
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise OutputRejected(f"{bad} of {items} predictions are NaN or infinite")
    if values.min(initial=0.0) < 0 or values.max(initial=0.0) > 1:
        raise OutputRejected(
            f"predictions range from {values.min():.3g} to {values.max():.3g}; P(class 1) between 0 and 1 is expected"
        )
    return np.asarray(values > 0.5, dtype=np.bool_)
