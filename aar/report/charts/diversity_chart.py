"""Chart of idea diversity: the entropy with its bootstrap band, and the Vendi score."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from aar.readmodels.progress import DiversityPoint, Progress
from aar.report.charts.svg import (
    CHART_SIZES,
    ChartFrame,
    ChartSize,
    draw_grid,
    draw_step_line,
    make_frame,
    render_svg,
    time_axis,
)


def diversity_chart(progress: Progress, team: int) -> Markup:
    """Draws the Shannon bits over idea families over running time.

    The top of the axis is the entropy of a team with all different ideas.

    The Vendi score, an effective number, is drawn as its logarithm to base 2, so that both lines count in bits."""
    points = progress.diversity
    axis = time_axis(progress.minutes)
    parts = []
    for size in CHART_SIZES:
        flat = ChartSize(size.name, size.width, size.height * 3 // 5, size.ticks)
        on = make_frame(flat, axis, 0.0, diversity_top(progress, team))
        body = [draw_grid(on, axis, "bits")]
        if points:
            body.append(_band(on, points))
            body.append(draw_step_line(on, [(each.minutes, each.bits) for each in points], "diversity"))
        texts = [(each.minutes, bits) for each in points if (bits := _bits(each.vendi)) is not None]
        if texts:
            body.append(draw_step_line(on, texts, "vendi"))
        parts.append(render_svg(flat, describe_diversity(points), Markup("").join(body)))
    return Markup("").join(parts)


def diversity_top(progress: Progress, team: int) -> float:
    """Returns the top of the vertical axis, in bits."""
    values = [value for each in progress.diversity for value in (each.bits, each.high or 0.0, _bits(each.vendi) or 0.0)]
    return max([*values, math.log2(max(team, 2)), 1.0]) * 1.08


def diversity_legend(progress: Progress) -> Markup:
    """Draws the legend; the Vendi score appears only if there is one."""
    item = Markup('<li class="{}"><svg viewBox="0 0 18 10" aria-hidden="true"><path d="{}"/></svg>{}</li>')
    items = [item.format("chart-diversity", "M0 5H18", "families, in bits")]
    if any(each.low is not None for each in progress.diversity):
        items.append(item.format("chart-band", "M0 0H18V10H0z", "90 % bootstrap band"))
    if any(each.vendi is not None for each in progress.diversity):
        items.append(item.format("chart-vendi", "M0 5H18", "Vendi score of the texts, as log₂"))
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def _bits(vendi: float | None) -> float | None:
    return None if not vendi else math.log2(vendi)


def _band(on: ChartFrame, points: Sequence[DiversityPoint]) -> Markup:
    known = [(each.minutes, each.low, each.high) for each in points if each.low is not None and each.high is not None]
    if not known:
        return Markup("")
    ends = [on.x(minutes) for minutes, _, _ in known[1:]] + [on.x.end]
    there = f"M{on.x(known[0][0])} {on.y(known[0][2])}"
    for (_, _, high), end in zip(known, ends, strict=True):
        there += f"V{on.y(high)}H{end}"
    for (minutes, low, _), _end in zip(reversed(known), reversed(ends), strict=True):
        there += f"V{on.y(low)}H{on.x(minutes)}"
    return Markup('<path class="band" d="{}z"/>').format(there)


def describe_diversity(points: Sequence[DiversityPoint]) -> str:
    """Describes the chart in words: the first and the newest entropy."""
    if not points:
        return "Idea diversity over time: not measured yet."
    return f"Idea diversity over time, in bits: {points[0].bits:.2f} at first, {points[-1].bits:.2f} now."
