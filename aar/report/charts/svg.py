"""Scales and ticks of a chart's axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from aar.problems.protocol import Metric
from aar.readmodels.formatting import typeset_score

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
    values = [*_within_fences(sorted(values)), *anchors]
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or 0.1
    return low - air, high + air


def _within_fences(ordered: Sequence[float]) -> Sequence[float]:
    if len(ordered) < _ENOUGH:
        return ordered
    lower, upper = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
    reach = _FENCE * max(upper - lower, 0.01 * abs(upper))
    return [value for value in ordered if lower - reach <= value <= upper + reach]


MAX_SERIES = 8
"""Number of distinct colours; further researchers share them."""


@dataclass(frozen=True, slots=True)
class ChartSize:
    """A drawing's size in pixels.

    Each chart is drawn wide and narrow, and the style sheet shows the one that fits.
    """

    name: str
    width: int
    height: int
    ticks: int


CHART_SIZES = (ChartSize("wide", 820, 340, 8), ChartSize("narrow", 360, 300, 4))
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 14, 36


@dataclass(frozen=True, slots=True)
class ChartAxis:
    """A horizontal axis from 0: its end, unit, and labelled ticks.

    The ticks take the maximum number of labels.
    """

    end: float
    unit: str
    ticks: Callable[[int], list[tuple[float, str]]]


@dataclass(frozen=True, slots=True)
class ChartFrame:
    """A drawing's size and scales."""

    size: ChartSize
    x: LinearScale
    y: LinearScale


def series_class(index: int) -> str:
    """Returns the style class of a researcher by its number from 1."""
    return f"s{(index - 1) % MAX_SERIES + 1}"


def time_axis(minutes: float) -> ChartAxis:
    """Returns an axis of minutes for a short campaign, of hours otherwise."""
    longest = max(minutes, 1.0) * 1.02
    unit = "hours of running" if longest > 180 else "minutes of running"
    return ChartAxis(longest, unit, lambda most: [(at, time_label(at, longest)) for at in time_ticks(longest, most)])


def money_axis(usd: float) -> ChartAxis:
    """Returns an axis of dollars billed."""
    most_usd = max(usd, 0.01) * 1.02
    return ChartAxis(most_usd, "dollars billed", lambda most: [(at, f"${at:g}") for at in ticks(0.0, most_usd, most)])


def make_frame(size: ChartSize, axis: ChartAxis, low: float, high: float) -> ChartFrame:
    """Makes the frame of a drawing with scores from ``low`` to ``high``."""
    x = LinearScale(0.0, axis.end, _LEFT, size.width - _RIGHT)
    return ChartFrame(size, x, LinearScale(low, high, size.height - _BOTTOM, _TOP))


def render_svg(size: ChartSize, description: str, body: Markup, *, links: bool = False) -> Markup:
    """Renders a drawing; screen readers read the description.

    A drawing with links has the role of a group instead of an image.
    """
    return Markup(
        '<svg class="chart {}" viewBox="0 0 {} {}" role="{}" aria-label="{}" xmlns="http://www.w3.org/2000/svg">{}</svg>'
    ).format(size.name, size.width, size.height, "group" if links else "img", description, body)


def draw_grid(on: ChartFrame, axis: ChartAxis, name: str) -> Markup:
    """Draws the axes with their ticks and names."""
    left, right, bottom = on.x.start, on.x.end, on.y.start
    parts = []
    for value in ticks(on.y.low, on.y.high, 7):
        y = on.y(value)
        kind = "zero" if value == 0 else "grid"
        parts.append(Markup('<path class="{}" d="M{} {}H{}"/>').format(kind, left, y, right))
        label = f"{value:g}".replace("-", "−")
        parts.append(Markup('<text x="{}" y="{}" class="end">{}</text>').format(left - 7, y + 4, label))
    for value, label in axis.ticks(on.size.ticks):
        x = on.x(value)
        parts.append(Markup('<path class="tick" d="M{} {}v5"/>').format(x, bottom))
        parts.append(Markup('<text x="{}" y="{}" class="middle">{}</text>').format(x, bottom + 18, label))
    parts.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(left, bottom, right))
    parts.append(Markup('<text x="{}" y="{}" class="end unit">{}</text>').format(right, bottom + 33, axis.unit))
    parts.append(Markup('<text x="{}" y="{}" class="unit">{}</text>').format(left + 4, _TOP - 3, name))
    return Markup("").join(parts)


def draw_reference_lines(on: ChartFrame, metric: Metric | None) -> Markup:
    """Draws lines for the human baseline, published results, and the ceiling."""
    if metric is None:
        return Markup("")
    lines = []
    if metric.human_baseline is not None:
        lines.append(
            _line(on, metric.human_baseline, "human", f"human {typeset_score(metric.human_baseline)}", -5, end=True)
        )
    if metric.published is not None:
        words = f"published {typeset_score(metric.published)}, on other models"
        lines.append(_line(on, metric.published, "published", words, 14, end=True))
    if math.isfinite(metric.ceiling):
        lines.append(_line(on, metric.ceiling, "ceiling", f"ceiling {metric.ceiling:g}", -4, end=False))
    return Markup("").join(lines)


def _line(on: ChartFrame, value: float, kind: str, words: str, shift: int, *, end: bool) -> Markup:
    y = on.y(value)
    line = Markup('<path class="{}" d="M{} {}H{}"/>').format(kind, on.x.start, y, on.x.end)
    x, anchor = (on.x.end - 2, "end ") if end else (on.x.start + 42, "")
    return line + Markup('<text x="{}" y="{}" class="{}{}-label">{}</text>').format(x, y + shift, anchor, kind, words)


def axis_anchors(metric: Metric | None) -> list[float]:
    """Lists values that an axis of scores must show."""
    if metric is None:
        return []
    anchors = [value for value in (metric.human_baseline, metric.published) if value is not None]
    anchors += [metric.ceiling] if math.isfinite(metric.ceiling) else []
    return [0.0, *anchors] if metric.ceiling == 1.0 else anchors


def draw_step_line(on: ChartFrame, points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """Draws a step line up to the frame's edge; each value holds until the next."""
    path = f"M{on.x(points[0][0])} {on.y(points[0][1])}"
    for at, value in points[1:]:
        path += f"H{on.x(at)}V{on.y(value)}"
    return Markup('<path class="{}" d="{}"/>').format(kind, f"{path}H{on.x.end}")
