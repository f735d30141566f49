"""SVG primitives of the line charts: frame, axes, ticks and reference lines.

Each drawing is inline SVG, wide and narrow. There is no script and no inline style: ``assets/chart.css`` sets the
colours, light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from aar.problems.protocol import Metric
from aar.readmodels.formatting import format_score
from aar.report.charts.axes import LinearScale, ticks, time_label, time_ticks

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
            _line(on, metric.human_baseline, "human", f"human {format_score(metric.human_baseline)}", -5, end=True)
        )
    if metric.published is not None:
        words = f"published {format_score(metric.published)}, on other models"
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
    found = [value for value in (metric.human_baseline, metric.published) if value is not None]
    found += [metric.ceiling] if math.isfinite(metric.ceiling) else []
    return [0.0, *found] if metric.ceiling == 1.0 else found


def draw_step_line(
    on: ChartFrame, points: Sequence[tuple[float, float]], kind: str, until: float | None = None
) -> Markup:
    """Draws a step line up to ``until``, by default the frame's edge.

    Each value holds until the next.
    """
    path = f"M{on.x(points[0][0])} {on.y(points[0][1])}"
    for at, value in points[1:]:
        path += f"H{on.x(at)}V{on.y(value)}"
    end = on.x.end if until is None else on.x(until)
    return Markup('<path class="{}" d="{}"/>').format(kind, f"{path}H{end}")
