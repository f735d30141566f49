"""Compares two campaigns: specs, progress and costs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from sqlalchemy.orm import Session

from aar.budget.totals import Totals, read_totals
from aar.problems.protocol import Metric
from aar.readmodels.formatting import typeset_score
from aar.readmodels.leaderboard import Board, read_board
from aar.readmodels.progress import HorizontalAxis, Progress, list_visible_submissions, read_progress
from aar.report.charts.score_chart import draw_submission, horizontal_axis, score_range
from aar.report.charts.svg import (
    CHART_SIZES,
    draw_grid,
    draw_reference_lines,
    draw_step_line,
    make_frame,
    render_svg,
    series_class,
)
from aar.scoring.visibility import Audience


@dataclass(frozen=True, slots=True)
class ComparedCampaign:
    """One of the two campaigns."""

    progress: Progress
    board: Board
    totals: Totals
    submissions: int


@dataclass(frozen=True, slots=True)
class SpecRow:
    """A field of both specs, as JSON; a dash for a missing one."""

    field: str
    left: str
    right: str

    @property
    def differs(self) -> bool:
        """Returns True if the two values differ."""
        return self.left != self.right


def read_compared_campaign(
    session: Session, campaign_id: str, metric: Metric | None, audience: Audience = Audience.OPERATOR
) -> ComparedCampaign:
    """Reads one campaign's progress, as an audience may see it."""
    higher = metric is None or metric.higher_is_better
    submissions = list_visible_submissions(session, campaign_id, audience)
    return ComparedCampaign(
        progress=read_progress(session, campaign_id, submissions, higher_is_better=higher),
        board=read_board(session, campaign_id, higher_is_better=higher, audience=audience),
        totals=read_totals(session, campaign_id).campaign,
        submissions=len(submissions),
    )


def spec_rows(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[SpecRow]:
    """Lists all fields of both specs by dotted name.

    Fields that differ come first.
    """
    one, other = _flat(left), _flat(right)
    rows = [SpecRow(field, one.get(field, "–"), other.get(field, "–")) for field in sorted({*one, *other})]
    return sorted(rows, key=lambda row: (not row.differs, row.field))


def comparison_chart(
    left: ComparedCampaign, right: ComparedCampaign, metric: Metric | None, over: HorizontalAxis = "hours"
) -> Markup:
    """Draws both campaigns' submissions and best so far on the same axes.

    Args:
        metric: of both; None if the problem is not installed.
        over: the horizontal axis.
    """
    name = metric.name if metric else "score"
    sides = ((left, 1), (right, 2))
    low, high = score_range([*left.progress.points, *right.progress.points], metric)
    axis = horizontal_axis(
        max(left.progress.minutes, right.progress.minutes), max(left.progress.usd, right.progress.usd), over
    )
    parts = []
    for size in CHART_SIZES:
        on = make_frame(size, axis, low, high)
        body = [draw_grid(on, axis, name), draw_reference_lines(on, metric)]
        for each, number in sides:
            found = each.progress
            if found.frontier:
                line = [(point.at(over), point.mean) for point in found.frontier]
                end = found.usd if over == "usd" else found.minutes
                body.append(draw_step_line(on, line, f"frontier of {series_class(number)}", end))
            dots = [draw_submission(on, on.x(point.at(over)), point) for point in found.points]
            group = Markup('<g class="point {}">{}</g>')
            body.append(group.format(series_class(number), Markup("").join(dots)))
        parts.append(render_svg(size, _describe(left, right, name, over), Markup("").join(body)))
    return Markup("").join(parts)


def _describe(left: ComparedCampaign, right: ComparedCampaign, name: str, over: HorizontalAxis) -> str:
    best = [each.progress.frontier[-1].mean if each.progress.frontier else None for each in (left, right)]
    what = "dollars" if over == "usd" else "time"
    return f"{name} over {what} of both campaigns: best {typeset_score(best[0])} left, {typeset_score(best[1])} right."


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        found: dict[str, str] = {}
        for key, each in value.items():
            found |= _flat(each, f"{prefix}.{key}" if prefix else str(key))
        return found
    if value is None or value in ({}, []):
        return {}
    return {prefix: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)}
