"""Chart of lineage: measured submissions by time and score, linked to their parents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup, escape

from aar.problems.protocol import Metric
from aar.readmodels.formatting import format_score
from aar.readmodels.progress import Progress, ScorePoint
from aar.report.charts.score_chart import as_markup, draw_submission, score_range
from aar.report.charts.svg import (
    CHART_SIZES,
    ChartFrame,
    draw_grid,
    draw_reference_lines,
    make_frame,
    render_svg,
    series_class,
    time_axis,
)
from aar.scoring.submissions.submit import SubmissionView


def lineage_chart(
    found: Progress,
    submissions: Sequence[SubmissionView],
    metric: Metric | None,
    series: Mapping[str, int],
    link: Callable[[ScorePoint], str] | None = None,
) -> Markup:
    """Draws the lineage over running time.

    Colours are researchers, so a line that changes colour is an idea that another researcher took over.

    Args:
        found: the campaign's progress.
        submissions: all of the campaign, to find parents in.
        metric: for names and lines; None if the problem is not installed.
        series: a researcher's number by its id, for colours.
        link: returns the address of a point's submission page.
    """
    name = metric.name if metric else "score"
    places = {point.submission.number: point for point in found.points}
    first = {each.digest: each.number for each in reversed(submissions)}
    pairs = []
    for point in found.points:
        parent = places.get(first.get(point.submission.parent or "", 0))
        if parent is not None:
            pairs.append((parent, point))
    low, high = score_range(found.points, metric)
    axis = time_axis(found.minutes)
    words = f"Lineage: {len(places)} measured submissions, {len(pairs)} of them built on another one."
    said = [(each, _title(each), Markup("") if link is None else escape(link(each))) for each in found.points]
    parts = []
    for size in CHART_SIZES:
        on = make_frame(size, axis, low, high)
        body: list[str] = [draw_grid(on, axis, name), draw_reference_lines(on, metric)]
        body += [_edge(on, parent, child, series) for parent, child in pairs]
        body += [
            _node(on, point, series.get(point.submission.researcher_id, 1), title, href) for point, title, href in said
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
    words = f"s{each.number} by {each.researcher_name}: {format_score(point.mean)}, {each.status} – {each.title}"
    return as_markup(f"<title>{escape(words)}</title>")
