"""The mean of the five nearest points."""

from statistics import fmean

import toylab

points = toylab.read()


def guess(x: float) -> float:
    """Mean height of the five points nearest to ``x``."""
    nearest = sorted(range(len(points.x)), key=lambda index: abs(points.x[index] - x))[:5]
    return fmean(points.y[index] for index in nearest)


toylab.write(points, [guess(x) for x in points.test_x])
