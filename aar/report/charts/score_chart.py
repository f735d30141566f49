"""Charts of scores over time: submissions with the best so far, their legend and lineage; interval bars for tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from markupsafe import Markup, escape

from aar.problems.protocol import Metric
from aar.readmodels.formatting import typeset_score
from aar.readmodels.progress import HorizontalAxis, Progress, ScorePoint
from aar.report.charts.svg import (
    CHART_SIZES,
    ChartFrame,
    LinearScale,
    axis_anchors,
    axis_range,
    draw_grid,
    draw_reference_lines,
    draw_step_line,
    make_frame,
    money_axis,
    render_svg,
    series_class,
    time_axis,
)
from aar.scoring.submissions import SubmissionView


def score_chart(
    progress: Progress, metric: Metric | None, series: Mapping[str, int], over: HorizontalAxis = "hours"
) -> Markup:
    """Draws scores over running time or dollars.

    Each submission has its 90 % interval; a line shows the best so far.

    Lines show the human baseline, what was published, and the ceiling. A confirmed submission is a diamond, a
    refuted one a cross that the best-so-far passes over.

    Args:
        progress: of the campaign.
        metric: for names and lines; None if the problem is not installed.
        series: a researcher's number by its id, for colours.
        over: the horizontal axis.
    """
    name = metric.name if metric else "score"
    low, high = score_range(progress.points, metric)
    axis = money_axis(progress.usd) if over == "usd" else time_axis(progress.minutes)
    # Formatted as plain text from escaped pieces: hundreds of points through Markup.format took most of the time
    titles = [point_title(each, name) for each in progress.points]
    parts = []
    for size in CHART_SIZES:
        on = make_frame(size, axis, low, high)
        body: list[str] = [draw_grid(on, axis, name), draw_reference_lines(on, metric)]
        if progress.frontier:
            line = [(each.at(over), each.mean) for each in progress.frontier]
            body.append(draw_step_line(on, line, "frontier"))
        if size.name == "wide":
            for point, title in zip(progress.points, titles, strict=True):
                body.append(_point(on, point, series.get(point.submission.researcher_id, 1), over, title))
        else:
            body += _points(on, progress.points, series, over)
        parts.append(render_svg(size, describe_scores(progress, metric, over), as_markup("".join(body))))
    return Markup("").join(parts)


def score_range(points: Sequence[ScorePoint], metric: Metric | None) -> tuple[float, float]:
    """Returns the vertical range that shows the points and the metric's lines."""
    return axis_range(
        [value for point in points for value in (point.low, point.mean, point.high)], axis_anchors(metric)
    )


def _point(on: ChartFrame, point: ScorePoint, index: int, over: HorizontalAxis, title: Markup) -> str:
    x = on.x(point.at(over))
    whisker = ""
    if on.y.low <= point.mean <= on.y.high:
        whisker = f'<path class="whisker" d="M{x} {on.y(point.low)}V{on.y(point.high)}"/>'
    return f'<g class="point {series_class(index)}">{title}{whisker}{draw_submission(on, x, point)}</g>'


def _points(on: ChartFrame, points: Sequence[ScorePoint], series: Mapping[str, int], over: HorizontalAxis) -> list[str]:
    """Draws all points of a narrow chart, by researcher: narrow screens have no hover."""
    by: dict[int, list[ScorePoint]] = {}
    for point in points:
        by.setdefault(series.get(point.submission.researcher_id, 1), []).append(point)
    drawings = []
    for index, own in sorted(by.items()):
        within = [each for each in own if on.y.low <= each.mean <= on.y.high]
        ends = "".join(f"M{on.x(each.at(over))} {on.y(each.low)}V{on.y(each.high)}" for each in within)
        spots = "".join(draw_submission(on, on.x(each.at(over)), each) for each in own)
        drawings.append(f'<g class="point {series_class(index)}"><path class="whisker" d="{ends}"/>{spots}</g>')
    return drawings


def as_markup(escaped: str) -> Markup:
    """Marks constants, numbers and escaped text as safe markup."""
    return Markup(escaped)  # noqa: S704 - see above: Markup.format costs five times as much


def point_title(point: ScorePoint, name: str) -> Markup:
    """Returns the tooltip of a point."""
    each = point.submission
    words = (
        f"s{each.number} by {each.researcher_name}: {name} {typeset_score(point.mean)} "
        f"({typeset_score(point.low)} to {typeset_score(point.high)}), {each.status} – {each.title}"
    )
    return as_markup(f"<title>{escape(words)}</title>")


def draw_submission(on: ChartFrame, x: float, point: ScorePoint) -> Markup:
    """Draws a submission's mark, or an arrow on the edge for a score beyond."""
    y = on.y(point.mean)
    if on.y.low <= point.mean <= on.y.high:
        return status_mark(x, y, point.submission.status)
    way = 6 if point.mean < on.y.low else -6
    return as_markup(f'<path class="beyond" d="M{x} {y}l-5 {-way}h10z"/>')


def status_mark(x: float, y: float, status: str) -> Markup:
    """Draws a status mark: a diamond (confirmed), cross (refuted) or disc."""
    match status:
        case "confirmed":
            return as_markup(f'<path class="confirmed" d="M{x} {y - 6.5}l6.5 6.5l-6.5 6.5l-6.5 -6.5z"/>')
        case "refuted":
            return as_markup(f'<path class="refuted" d="M{x - 4} {y - 4}l8 8m0 -8l-8 8"/>')
        case _:
            return as_markup(f'<circle cx="{x}" cy="{y}" r="4.5"/>')


def describe_scores(progress: Progress, metric: Metric | None, over: HorizontalAxis) -> str:
    """Describes the chart in words: number of submissions, best score, human baseline."""
    name, what = metric.name if metric else "score", "dollars" if over == "usd" else "time"
    human = metric.human_baseline if metric else None
    baseline = "" if human is None else f" The human baseline is {typeset_score(human)}."
    if not progress.frontier:
        return f"{name} over {what}: nothing measured yet.{baseline}"
    best = typeset_score(progress.frontier[-1].mean)
    return f"{name} over {what}: {len(progress.points)} measured submissions, best {best}.{baseline}"


class LegendEntry(Protocol):
    """A researcher with a colour."""

    @property
    def name(self) -> str: ...
    @property
    def index(self) -> int: ...
    @property
    def direction_key(self) -> str: ...


def score_legend(team: Sequence[LegendEntry], *, frontier: bool = True) -> Markup:
    """Draws the legend of colours and marks.

    ``frontier`` is True if the chart has the best-so-far line.
    """
    item = Markup('<li><span class="dot {}"></span>{}&nbsp;<span class="soft">{}</span></li>')
    items = [item.format(series_class(each.index), each.name, each.direction_key) for each in team]
    line = Markup('<li class="best"><svg viewBox="0 0 18 10" aria-hidden="true"><path d="M0 5H18"/></svg>{}</li>')
    sign = Markup('<li class="chart-sign"><svg viewBox="0 0 16 16" aria-hidden="true">{}</svg>{}</li>')
    signs = [sign.format(status_mark(8, 8, status), status) for status in ("measured", "confirmed", "refuted")]
    return Markup('<ul class="legend">{}</ul>').format(
        Markup("").join([*items, *([line.format("best so far")] if frontier else []), *signs])
    )


def interval_bar(
    mean: float, low: float | None, high: float | None, axis: tuple[float, float], human: float | None
) -> Markup:
    """Draws a score's interval as a small bar on a shared axis.

    The human baseline is a tick; for table rows.
    """
    x = LinearScale(axis[0], axis[1], 4, 116)
    parts = [Markup('<path class="rail" d="M4 8H116"/>')]
    if human is not None:
        parts.append(Markup('<path class="human" d="M{} 1v14"/>').format(x(human)))
    if low is not None and high is not None:
        parts.append(Markup('<path class="interval" d="M{} 8H{}"/>').format(x(low), x(high)))
    parts.append(Markup('<circle cx="{}" cy="8" r="3.5"/>').format(x(mean)))
    return Markup('<svg class="bar" viewBox="0 0 120 16" aria-hidden="true">{}</svg>').format(Markup("").join(parts))


def lineage_chart(
    progress: Progress,
    submissions: Sequence[SubmissionView],
    metric: Metric | None,
    series: Mapping[str, int],
    link: Callable[[ScorePoint], str] | None = None,
) -> Markup:
    """Draws the lineage over running time.

    Colours are researchers, so a line that changes colour is an idea that another researcher took over.

    Args:
        progress: of the campaign.
        submissions: all of the campaign, to find parents in.
        metric: for names and lines; None if the problem is not installed.
        series: a researcher's number by its id, for colours.
        link: returns the address of a point's submission page.
    """
    name = metric.name if metric else "score"
    places = {point.submission.number: point for point in progress.points}
    first = {each.digest: each.number for each in reversed(submissions)}
    pairs = []
    for point in progress.points:
        parent = places.get(first.get(point.submission.parent or "", 0))
        if parent is not None:
            pairs.append((parent, point))
    low, high = score_range(progress.points, metric)
    axis = time_axis(progress.minutes)
    words = f"Lineage: {len(places)} measured submissions, {len(pairs)} of them built on another one."
    nodes = [(each, _title(each), Markup("") if link is None else escape(link(each))) for each in progress.points]
    parts = []
    for size in CHART_SIZES:
        on = make_frame(size, axis, low, high)
        body: list[str] = [draw_grid(on, axis, name), draw_reference_lines(on, metric)]
        body += [_edge(on, parent, child, series) for parent, child in pairs]
        body += [
            _node(on, point, series.get(point.submission.researcher_id, 1), title, href) for point, title, href in nodes
        ]
        parts.append(render_svg(size, words, as_markup("".join(body)), links=link is not None))
    return Markup("").join(parts)


def _edge(on: ChartFrame, parent: ScorePoint, child: ScorePoint, series: Mapping[str, int]) -> str:
    x1, y1, x2, y2 = on.x(parent.minutes), on.y(parent.mean), on.x(child.minutes), on.y(child.mean)
    middle = round((x1 + x2) / 2, 1)
    style = series_class(series.get(child.submission.researcher_id, 1))
    path = f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}"
    return f'<path class="descent {style}" d="{path}"/>'


def _node(on: ChartFrame, point: ScorePoint, index: int, title: Markup, href: Markup) -> str:
    x, y = on.x(point.minutes), on.y(point.mean)
    label = f'<text x="{x}" y="{y - 9}" class="middle number">s{point.submission.number}</text>'
    body = f"{title}{draw_submission(on, x, point)}{label}"
    if href:
        body = f'<a href="{href}" tabindex="-1">{body}</a>'
    return f'<g class="point {series_class(index)}">{body}</g>'


def _title(point: ScorePoint) -> Markup:
    each = point.submission
    words = f"s{each.number} by {each.researcher_name}: {typeset_score(point.mean)}, {each.status} – {each.title}"
    return as_markup(f"<title>{escape(words)}</title>")
