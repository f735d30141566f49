"""Scales and ticks of a chart's axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_TIME_STEPS = (0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)
_DAY = 1440.0
_FENCE = 1.5
_ENOUGH = 5


@dataclass(frozen=True, slots=True)
class LinearScale:
    """A linear map from ``[low, high]`` to ``[start, end]`` in pixels.

    Values outside are placed on the edge.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Returns round numbers within ``[low, high]``, at most about ``most``."""
    rough = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in _STEPS if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 10) + 0.0 for index in range(first, last + 1)]


def time_ticks(minutes: float, most: int) -> list[float]:
    """Returns round times from 0 to ``minutes``."""
    days = _DAY * math.ceil(minutes / most / _DAY)
    step = next((each for each in _TIME_STEPS if minutes / each <= most), days)
    return [index * step for index in range(math.floor(minutes / step) + 1)]


def time_label(minutes: float, longest: float) -> str:
    """Formats a tick's label: minutes in a short run, hours in a long one."""
    return f"{minutes / 60:g} h" if longest > 180 else f"{minutes:g}"


def axis_range(values: Sequence[float], anchors: Sequence[float]) -> tuple[float, float]:
    """Returns an axis range that shows all anchors and all but extreme outliers.

    A value further from the quartiles than one and a half times their distance (Tukey's fences) would press all
    others into one line; such a value is drawn on the edge instead. The range has some margin.
    """
    if not values and not anchors:
        return 0.0, 1.0
    shown = [*_within_fences(sorted(values)), *anchors]
    low, high = min(shown), max(shown)
    air = 0.06 * (high - low) or 0.1
    return low - air, high + air


def _within_fences(ordered: Sequence[float]) -> Sequence[float]:
    if len(ordered) < _ENOUGH:
        return ordered
    lower, upper = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
    reach = _FENCE * max(upper - lower, 0.01 * abs(upper))
    return [value for value in ordered if lower - reach <= value <= upper + reach]
