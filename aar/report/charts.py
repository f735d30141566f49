"""Charts as inline SVG: no script, no inline style; ``assets/chart.css`` colours them, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from markupsafe import Markup

from aar.problems.protocol import Metric
from aar.report.axes import Scale, span, ticks, time_label, time_ticks
from aar.report.labels import score
from aar.report.progress import Progress, ScorePoint

SERIES = 8
"""Number of distinct colours; further researchers share them."""


@dataclass(frozen=True, slots=True)
class Size:
    """A drawing's size in pixels; each chart is drawn wide and narrow, and the style sheet shows the fitting one."""

    name: str
    width: int
    height: int
    ticks: int


SIZES = (Size("wide", 820, 340, 8), Size("narrow", 360, 300, 4))
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 14, 36


@dataclass(frozen=True, slots=True)
class _Frame:
    size: Size
    x: Scale
    y: Scale
    minutes: float


def series_class(index: int) -> str:
    """The style class of a researcher by its number from 1."""
    return f"s{(index - 1) % SERIES + 1}"


def score_chart(
    found: Progress,
    metric: Metric | None,
    series: Mapping[str, int],
    link: Callable[[ScorePoint], str] | None = None,
) -> Markup:
    """Score over time of running: each submission with its 90 % interval, the best so far, the human baseline.

    Args:
        found: the campaign's progress.
        metric: for names and lines; None where the problem is not installed.
        series: a researcher's number by its id, for colours.
        link: address of a submission's page, for a point to lead to.
    """
    name = metric.name if metric else "score"
    baseline = metric.human_baseline if metric else None
    anchors = [0.0] if metric and metric.ceiling == 1.0 else []
    anchors += [baseline] if baseline is not None else []
    low, high = span([value for point in found.points for value in (point.low, point.mean, point.high)], anchors)
    parts = []
    for size in SIZES:
        frame = _frame(size, low, high, found.minutes)
        body = [_grid(frame, name)]
        if baseline is not None:
            body.append(_baseline(frame, baseline))
        if found.frontier:
            body.append(_steps(frame, found.frontier, "frontier"))
        body += [
            _point(frame, point, name, series.get(point.submission.researcher_id, 1), link) for point in found.points
        ]
        parts.append(_svg(size, _describe(found, name, baseline), Markup("").join(body)))
    return Markup("").join(parts)


def diversity_chart(found: Progress, team: int) -> Markup:
    """Shannon bits over idea families over time of running; the top is what a team of all different ideas has."""
    top = max([bits for _, bits in found.diversity] + [float(max(team, 2).bit_length() - 1), 1.0])
    parts = []
    for size in SIZES:
        small = Size(size.name, size.width, size.height * 3 // 5, size.ticks)
        frame = _frame(small, 0.0, top * 1.08, found.minutes)
        steps = _steps(frame, found.diversity, "diversity") if found.diversity else Markup("")
        parts.append(_svg(small, "Idea diversity over time, in bits", _grid(frame, "bits") + steps))
    return Markup("").join(parts)


def _frame(size: Size, low: float, high: float, minutes: float) -> _Frame:
    longest = max(minutes, 1.0) * 1.02
    x = Scale(0.0, longest, _LEFT, size.width - _RIGHT)
    y = Scale(low, high, size.height - _BOTTOM, _TOP)
    return _Frame(size, x, y, longest)


def _svg(size: Size, description: str, body: Markup) -> Markup:
    return Markup(
        '<svg class="chart {}" viewBox="0 0 {} {}" role="img" aria-label="{}" xmlns="http://www.w3.org/2000/svg">{}</svg>'
    ).format(size.name, size.width, size.height, description, body)


def _grid(frame: _Frame, name: str) -> Markup:
    left, right, bottom = frame.x.start, frame.x.end, frame.y.start
    parts = []
    for value in ticks(frame.y.low, frame.y.high, 7):
        y = frame.y(value)
        kind = "zero" if value == 0 else "grid"
        parts.append(Markup('<path class="{}" d="M{} {}H{}"/>').format(kind, left, y, right))
        parts.append(
            Markup('<text x="{}" y="{}" class="end">{}</text>').format(left - 7, y + 4, f"{value:g}".replace("-", "−"))
        )
    for value in time_ticks(frame.minutes, frame.size.ticks):
        x = frame.x(value)
        label = time_label(value, frame.minutes)
        parts.append(Markup('<path class="tick" d="M{} {}v5"/>').format(x, bottom))
        parts.append(Markup('<text x="{}" y="{}" class="middle">{}</text>').format(x, bottom + 18, label))
    unit = "hours of running" if frame.minutes > 180 else "minutes of running"
    parts.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(left, bottom, right))
    parts.append(Markup('<text x="{}" y="{}" class="end unit">{}</text>').format(right, bottom + 33, unit))
    parts.append(Markup('<text x="{}" y="{}" class="unit">{}</text>').format(left + 4, _TOP + 2, name))
    return Markup("").join(parts)


def _baseline(frame: _Frame, value: float) -> Markup:
    y = frame.y(value)
    line = Markup('<path class="human" d="M{} {}H{}"/>').format(frame.x.start, y, frame.x.end)
    words = Markup('<text x="{}" y="{}" class="end human-label">human {}</text>')
    return line + words.format(frame.x.end - 2, y - 5, score(value))


def _steps(frame: _Frame, steps: Sequence[tuple[float, float]], kind: str) -> Markup:
    path = f"M{frame.x(steps[0][0])} {frame.y(steps[0][1])}"
    for minutes, value in steps[1:]:
        path += f"H{frame.x(minutes)}V{frame.y(value)}"
    return Markup('<path class="{}" d="{}"/>').format(kind, f"{path}H{frame.x.end}")


def _point(frame: _Frame, point: ScorePoint, name: str, index: int, link: Callable[[ScorePoint], str] | None) -> Markup:
    x, y = frame.x(point.minutes), frame.y(point.mean)
    clipped = not frame.y.low <= point.mean <= frame.y.high
    each = point.submission
    words = (
        f"s{each.number} by {each.researcher_name}: {name} {score(point.mean)} "
        f"({score(point.low)} to {score(point.high)}) – {each.title}"
    )
    whisker = Markup("")
    if not clipped:
        whisker = Markup('<path class="whisker" d="M{} {}V{}"/>').format(x, frame.y(point.low), frame.y(point.high))
    dot = Markup('<circle cx="{}" cy="{}" r="4.5"/>').format(x, y)
    if clipped:
        way = 6 if point.mean < frame.y.low else -6
        dot = Markup('<path class="beyond" d="M{} {}l-5 {}h10z"/>').format(x, y, -way)
    body = Markup("<title>{}</title>{}{}").format(words, whisker, dot)
    if link is not None:
        body = Markup('<a href="{}" tabindex="-1">{}</a>').format(link(point), body)
    return Markup('<g class="point {}">{}</g>').format(series_class(index), body)


def _describe(found: Progress, name: str, baseline: float | None) -> str:
    human = "" if baseline is None else f" The human baseline is {score(baseline)}."
    if not found.frontier:
        return f"{name} over time: nothing measured yet.{human}"
    return f"{name} over time: {len(found.points)} measured submissions, best {score(found.frontier[-1][1])}.{human}"


class Member(Protocol):
    """Somebody with a colour."""

    @property
    def name(self) -> str: ...
    @property
    def index(self) -> int: ...
    @property
    def direction_key(self) -> str: ...


def legend(team: Sequence[Member]) -> Markup:
    """What the colours mean."""
    item = Markup('<li><span class="dot {}"></span>{}&nbsp;<span class="soft">{}</span></li>')
    items = [item.format(series_class(each.index), each.name, each.direction_key) for each in team]
    line = Markup('<li class="best"><svg viewBox="0 0 18 10" aria-hidden="true"><path d="M0 5H18"/></svg>{}</li>')
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join([*items, line.format("best so far")]))


def interval_bar(
    mean: float, low: float | None, high: float | None, axis: tuple[float, float], human: float | None
) -> Markup:
    """A score with its interval as a small bar on a shared axis, the human baseline as a tick; for table rows."""
    x = Scale(axis[0], axis[1], 4, 116)
    parts = [Markup('<path class="rail" d="M4 8H116"/>')]
    if human is not None:
        parts.append(Markup('<path class="human" d="M{} 1v14"/>').format(x(human)))
    if low is not None and high is not None:
        parts.append(Markup('<path class="interval" d="M{} 8H{}"/>').format(x(low), x(high)))
    parts.append(Markup('<circle cx="{}" cy="8" r="3.5"/>').format(x(mean)))
    return Markup('<svg class="bar" viewBox="0 0 120 16" aria-hidden="true">{}</svg>').format(Markup("").join(parts))
