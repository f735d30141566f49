"""A small L-BFGS, in place of ``scipy.optimize.minimize(method="L-BFGS-B")``.

Importing scipy.optimize makes every run of a method slower: the vanilla baseline takes 0.15 s of CPU with this module
and 0.54 s with scipy, cross_fit 0.37 s and 0.72 s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Objective = Callable[[Vector], tuple[float, Vector]]


def minimise(
    objective: Objective, start: Vector, *, iterations: int, tolerance: float = 1e-7, memory: int = 12
) -> Vector:
    """Minimise a smooth function by L-BFGS.

    Nocedal and Wright 2006, algorithm 7.5, with a weak Wolfe line search.

    Args:
        objective: maps a point to its value and gradient.
        start: the starting point.
        iterations: at most so many steps.
        tolerance: stop once a step promises less than this share of the value.
        memory: correction pairs kept.

    Returns:
        The best point found.
    """
    point, (value, gradient) = start, objective(start)
    pairs: deque[tuple[Vector, Vector, float]] = deque(maxlen=memory)
    for _ in range(iterations):
        direction = -_inverse_hessian_times(gradient, pairs)
        slope = float(direction @ gradient)
        if slope >= 0:
            pairs.clear()
            direction, slope = -gradient, -float(gradient @ gradient)
        if -slope <= tolerance * max(abs(value), 1e-12):
            break
        first = 1.0 if pairs else min(1.0, 1.0 / max(float(np.abs(gradient).sum()), 1e-12))
        found = _search(objective, point, value, direction, slope, first)
        if found is None:
            break
        step, new_value, new_gradient = found
        moved, change = step * direction, new_gradient - gradient
        curvature = float(moved @ change)
        if curvature > 1e-12 * float(change @ change):
            pairs.append((moved, change, curvature))
        point, value, gradient = point + moved, new_value, new_gradient
    return point


def _inverse_hessian_times(gradient: Vector, pairs: deque[tuple[Vector, Vector, float]]) -> Vector:
    """Return the inverse Hessian's product with a vector, by the two-loop recursion."""
    result = gradient.copy()
    shares: list[float] = []
    for moved, change, curvature in reversed(pairs):
        share = float(moved @ result) / curvature
        shares.append(share)
        result -= share * change
    if pairs:
        _, change, curvature = pairs[-1]
        result *= curvature / float(change @ change)
    for (moved, change, curvature), share in zip(pairs, reversed(shares), strict=True):
        result += (share - float(change @ result) / curvature) * moved
    return result


def _search(
    objective: Objective, point: Vector, value: float, direction: Vector, slope: float, step: float
) -> tuple[float, float, Vector] | None:
    """Return a step that lowers the value enough and flattens the slope.

    It is found by bisection and doubling. None where no step does.
    """
    low, high = 0.0, np.inf
    best: tuple[float, float, Vector] | None = None
    for _ in range(20):
        new_value, new_gradient = objective(point + step * direction)
        if not new_value <= value + 1e-4 * step * slope:
            high = step
        else:
            best = step, new_value, new_gradient
            if float(new_gradient @ direction) >= 0.9 * slope:
                return best
            low = step
        step = (low + high) / 2 if np.isfinite(high) else 2 * step
    return best
