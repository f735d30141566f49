"""Chart of a submission's score on each split: one row of dots per domain."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from markupsafe import Markup

from aar.problems.protocol import Metric
from aar.readmodels.formatting import phase_label, typeset_score
from aar.readmodels.submission_details import SeedScore
from aar.report.charts.svg import CHART_SIZES, ChartSize, LinearScale, axis_range, render_svg, ticks

_LEFT, _RIGHT, _TOP, _BOTTOM, _ROW = 14, 14, 18, 26, 44


def seed_chart(scores: Sequence[SeedScore], metric: Metric | None) -> Markup:
    """Draws one row per phase and domain.

    A dot is a split, a bar their mean, a line the human baseline.

    Args:
        scores: at least one.
        metric: for its name and baseline; None if the problem is not installed.
    """
    human = metric.human_baseline if metric else None
    rows: dict[tuple[str, str], list[float]] = {}
    for each in scores:
        rows.setdefault((each.phase, each.domain), []).append(each.score)
    low, high = axis_range([each.score for each in scores], [] if human is None else [human])
    words = f"{metric.name if metric else 'score'} on each of {len(scores)} splits, by domain"
    parts = []
    for size in CHART_SIZES:
        height = _TOP + _BOTTOM + _ROW * len(rows)
        x = LinearScale(low, high, _LEFT, size.width - _RIGHT)
        body = [_axis(x, size, height)]
        if human is not None:
            at = x(human)
            body.append(Markup('<path class="human" d="M{} {}V{}"/>').format(at, _TOP, height - _BOTTOM))
            label = Markup('<text x="{}" y="{}" class="middle human-label">human {}</text>')
            body.append(label.format(min(max(at, 40), size.width - 40), _TOP - 5, typeset_score(human)))
        body += [_row(x, index, key, values) for index, (key, values) in enumerate(rows.items())]
        parts.append(render_svg(ChartSize(size.name, size.width, height, size.ticks), words, Markup("").join(body)))
    return Markup("").join(parts)


def _axis(x: LinearScale, size: ChartSize, height: int) -> Markup:
    bottom = height - _BOTTOM
    parts = [Markup('<path class="axis" d="M{} {}H{}"/>').format(x.start, bottom, x.end)]
    for value in ticks(x.low, x.high, size.ticks):
        parts.append(Markup('<path class="grid" d="M{} {}V{}"/>').format(x(value), _TOP, bottom))
        label = f"{value:g}".replace("-", "−")
        parts.append(Markup('<text x="{}" y="{}" class="middle">{}</text>').format(x(value), bottom + 18, label))
    return Markup("").join(parts)


def _row(x: LinearScale, index: int, key: tuple[str, str], values: list[float]) -> Markup:
    top = _TOP + _ROW * index
    phase, domain = key
    parts = [
        Markup('<text x="{}" y="{}" class="name">{}, {}</text>').format(_LEFT, top + 15, domain, phase_label(phase))
    ]
    mean = x(fmean(values))
    parts.append(Markup('<path class="mean" d="M{} {}v18"/>').format(mean, top + 21))
    dot = Markup('<circle class="seed" cx="{}" cy="{}" r="5"><title>{}</title></circle>')
    parts += [dot.format(x(value), top + 30, typeset_score(value)) for value in values]
    return Markup("").join(parts)
