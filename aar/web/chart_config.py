"""Settings of a chart's script besides its data: names, lines, axis ranges, and version.

Charts are drawn on the server (``aar.report``). If scripts run, ``static/figures.js`` and ``charts.js`` make them
interactive with uPlot, from the same tables that are linked below them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

from aar.campaign.views import CampaignView, ResearcherView
from aar.problems.protocol import Metric
from aar.readmodels.formatting import format_score
from aar.readmodels.progress import HorizontalAxis, Progress, ScorePoint
from aar.report.charts.diversity_chart import diversity_top
from aar.report.charts.score_chart import score_range
from aar.report.comparison import ComparedCampaign
from aar.web.urls import campaign_link

ChartConfig = dict[str, Any]
"""Rendered as JSON in the page; it contains no agent's text."""
_ELSEWHERE = {"published": ", on other models"}


def score_plot(
    view: CampaignView, found: Progress, metric: Metric | None, team: Sequence[ResearcherView], over: HorizontalAxis
) -> ChartConfig:
    """Returns the settings of the score chart: submissions and the best so far."""
    groups = [
        {"name": f"{each.name} {each.direction_key}".strip(), "colour": each.index, "by": each.name} for each in team
    ]
    best = [{"name": "best so far", "colour": 0, "end": _end(found, over)}]
    plan = _scores([(view, found)], metric, over)
    return plan | {"groups": groups, "best": best, "version": _version(found.points)}


def comparison_plot(
    chosen: Sequence[tuple[CampaignView, ComparedCampaign]], metric: Metric | None, over: HorizontalAxis
) -> ChartConfig:
    """Returns the settings of both campaigns' submissions and best so far."""
    sides = [(view, side.progress) for view, side in chosen]
    groups = [{"name": view.id, "colour": index, "by": ""} for index, (view, _) in enumerate(sides, 1)]
    best = [
        {"name": f"best of {view.id}", "colour": index, "end": _end(found, over)}
        for index, (view, found) in enumerate(sides, 1)
    ]
    return _scores(sides, metric, over) | {"groups": groups, "best": best, "version": 0}


def diversity_plot(view: CampaignView, found: Progress, team: int) -> ChartConfig:
    """Returns the settings of the entropy with its band, and the Vendi score."""
    return {
        "kind": "diversity",
        "tables": [_table(view, "diversity")],
        "over": "hours",
        "end": max(found.minutes, 1.0),
        "range": [0.0, diversity_top(found, team)],
        "version": len(found.diversity),
    }


def _scores(sides: Sequence[tuple[CampaignView, Progress]], metric: Metric | None, over: HorizontalAxis) -> ChartConfig:
    lines: list[ChartConfig] = []
    if metric is not None:
        known = (("human", "--human", metric.human_baseline), ("published", "--s4", metric.published))
        lines = [{"name": name, "colour": colour, "at": at} for name, colour, at in known if at is not None]
        if math.isfinite(metric.ceiling):
            lines.append({"name": "ceiling", "colour": "--soft", "at": metric.ceiling})
    return {
        "kind": "scores",
        "tables": [_table(view, "score") for view, _ in sides],
        "pages": [f"{campaign_link(view.id)}/submissions/" for view, _ in sides],
        "over": over,
        "metric": metric.name if metric else "score",
        "lines": [
            each | {"label": f"{each['name']} {format_score(each['at'])}{_ELSEWHERE.get(each['name'], '')}"}
            for each in lines
        ],
        "end": max(_end(found, over) for _, found in sides),
        "range": list(score_range([point for _, found in sides for point in found.points], metric)),
    }


def _table(view: CampaignView, name: str) -> str:
    return f"/api/v1{campaign_link(view.id)}/charts/{name}"


def _end(found: Progress, over: HorizontalAxis) -> float:
    return max(found.usd, 0.01) if over == "usd" else max(found.minutes, 1.0)


def _version(points: Sequence[ScorePoint]) -> int:
    """Returns a number that changes when the table changes."""
    told = [(each.submission.number, each.submission.status, each.mean) for each in points]
    return zlib.crc32(repr(told).encode())
