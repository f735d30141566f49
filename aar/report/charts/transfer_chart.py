"""Chart of transfer: each winner's measured, confirmed and transferred score as bars."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from aar.problems.protocol import Metric
from aar.readmodels.formatting import typeset_score
from aar.readmodels.leaderboard import Winner
from aar.readmodels.submission_details import Score
from aar.report.charts.svg import CHART_SIZES, ChartSize, LinearScale, ticks
from aar.text import shorten

_LEFT, _RIGHT, _TOP, _BOTTOM = 14, 46, 20, 26
_HEAD, _BAR, _GAP = 22, 13, 10
_KINDS = (("measured", "s1"), ("confirmed", "s3"), ("transferred", "s2"))


def transfer_chart(winners: Sequence[Winner], metric: Metric | None) -> Markup:
    """Draws the bars with 90 % intervals and the human baseline as a line.

    Args:
        winners: at least one.
        metric: for its name and baseline; None if the problem is not installed.
    """
    human = metric.human_baseline if metric else None
    rows = [(winner, _scores(winner)) for winner in winners]
    ends = [end for _, scores in rows for _, _, each in scores for end in (each.mean, each.low, each.high)]
    low, high = min([0.0, *ends]), max([0.0, *ends, *([] if human is None else [human])])
    air = 0.05 * (high - low or 1.0)
    parts = []
    for size in CHART_SIZES:
        height = _TOP + _BOTTOM + sum(_HEAD + _GAP + _BAR * len(scores) for _, scores in rows)
        x = LinearScale(low - (air if low < 0 else 0.0), high + air, _LEFT, size.width - _RIGHT)
        body = [_axis(x, size, height), *_groups(x, rows, size)]
        if human is not None:
            body.append(_human(x, human, height))
        parts.append(
            Markup(
                '<svg class="chart {}" viewBox="0 0 {} {}" role="img" aria-label="{}" '
                'xmlns="http://www.w3.org/2000/svg">{}</svg>'
            ).format(size.name, size.width, height, _describe(rows, metric), Markup("").join(body))
        )
    return Markup("").join(parts)


def transfer_legend() -> Markup:
    """Draws the legend of the colours."""
    item = Markup('<li><span class="dot {}"></span>{}</li>')
    return Markup('<ul class="legend">{}</ul>').format(
        Markup("").join(item.format(style, kind) for kind, style in _KINDS)
    )


def _scores(winner: Winner) -> list[tuple[str, str, Score]]:
    values = (
        winner.measured,
        winner.confirmed.score if winner.confirmed else None,
        winner.transferred.score if winner.transferred else None,
    )
    return [(kind, style, value) for (kind, style), value in zip(_KINDS, values, strict=True) if value is not None]


def _groups(
    x: LinearScale, rows: Sequence[tuple[Winner, list[tuple[str, str, Score]]]], size: ChartSize
) -> list[Markup]:
    parts = []
    y = _TOP
    for winner, scores in rows:
        name = shorten(f"s{winner.submission.number} {winner.submission.title}", size.width // 8)
        parts.append(Markup('<text x="{}" y="{}" class="name">{}</text>').format(_LEFT, y + 15, name))
        y += _HEAD
        for kind, style, each in scores:
            parts.append(_bar(x, y, kind, style, each))
            y += _BAR
        y += _GAP
    return parts


def _bar(x: LinearScale, y: int, kind: str, style: str, each: Score) -> Markup:
    start, end = sorted((x(0.0), x(each.mean)))
    words = f"{kind}: {typeset_score(each.mean)} ({typeset_score(each.low)} to {typeset_score(each.high)})"
    return Markup(
        '<g class="value {}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}"/>'
        '<path class="whisker" d="M{} {}H{}"/><text x="{}" y="{}">{}</text></g>'
    ).format(
        style,
        words,
        start,
        y + 1,
        round(max(end - start, 1.0), 1),
        _BAR - 3,
        x(each.low),
        y + _BAR // 2,
        x(each.high),
        max(x(each.high), end) + 5,
        y + _BAR - 3,
        typeset_score(each.mean),
    )


def _axis(x: LinearScale, size: ChartSize, height: int) -> Markup:
    bottom = height - _BOTTOM
    parts = []
    for value in ticks(x.low, x.high, size.ticks):
        at, kind = x(value), "zero" if value == 0 else "grid"
        parts.append(Markup('<path class="{}" d="M{} {}V{}"/>').format(kind, at, _TOP, bottom))
        label = f"{value:g}".replace("-", "−")
        parts.append(Markup('<text x="{}" y="{}" class="middle">{}</text>').format(at, bottom + 17, label))
    return Markup("").join(parts)


def _human(x: LinearScale, value: float, height: int) -> Markup:
    at = x(value)
    line = Markup('<path class="human" d="M{} {}V{}"/>').format(at, _TOP - 4, height - _BOTTOM)
    words = Markup('<text x="{}" y="{}" class="middle human-label">human {}</text>').format(
        at, _TOP - 8, typeset_score(value)
    )
    return line + words


def _describe(rows: Sequence[tuple[Winner, list[tuple[str, str, Score]]]], metric: Metric | None) -> str:
    values = "; ".join(
        f"s{winner.submission.number} " + ", ".join(f"{kind} {typeset_score(each.mean)}" for kind, _, each in scores)
        for winner, scores in rows
    )
    return f"{metric.name if metric else 'score'} of the winners: {values}"
