"""Renders templates into responses: page addresses, chart settings, and the template environment."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from fastapi.responses import HTMLResponse
from markupsafe import Markup

from aar.campaign.views import CampaignView, ResearcherView
from aar.problems.protocol import Metric
from aar.readmodels.formatting import format_time, typeset_score
from aar.readmodels.progress import HorizontalAxis, Progress, ScorePoint
from aar.report.charts.diversity_chart import describe_diversity, diversity_top
from aar.report.charts.score_chart import describe_scores, score_range
from aar.report.comparison import ComparedCampaign, describe_comparison
from aar.report.html_report import make_template_environment
from aar.store.event_log import LoggedEvent
from aar.web.authentication import current_refresh, current_user


def campaign_link(campaign_id: str) -> str:
    """Returns the address of a campaign's page."""
    return f"/campaigns/{quote(campaign_id, safe='')}"


def post_link(campaign_id: str, post_id: int) -> str:
    """Returns the address of a post's page."""
    return f"{campaign_link(campaign_id)}/posts/{post_id}"


def submission_link(campaign_id: str, number: int) -> str:
    """Returns the address of a submission's page."""
    return f"{campaign_link(campaign_id)}/submissions/{number}"


def researcher_link(campaign_id: str, name: str) -> str:
    """Returns the address of a researcher's page."""
    return f"{campaign_link(campaign_id)}/researchers/{quote(name, safe='')}"


def point_link(campaign_id: str) -> Callable[[ScorePoint], str]:
    """Returns a function from a chart's point to its submission's page."""
    return lambda point: submission_link(campaign_id, point.submission.number)


def files_link(campaign_id: str, name: str, path: str = "") -> str:
    """Returns the address of a path in a researcher's workspace."""
    return f"{researcher_link(campaign_id, name)}/files" + (f"?path={quote(path, safe='')}" if path else "")


def live_link(campaign_id: str) -> str:
    """Returns the address of the live updates of a campaign's pages."""
    return f"{campaign_link(campaign_id)}/live"


GLOBALS: dict[str, Callable[..., str]] = {
    "campaign_link": campaign_link,
    "post_link": post_link,
    "submission_link": submission_link,
    "researcher_link": researcher_link,
    "files_link": files_link,
    "live_link": live_link,
}
"""Functions for templates."""


ChartConfig = dict[str, Any]
"""Rendered as JSON in the page; it contains no agent's text."""
_ELSEWHERE = {"published": ", on other models"}


def score_plot(
    view: CampaignView, progress: Progress, metric: Metric | None, team: Sequence[ResearcherView], over: HorizontalAxis
) -> ChartConfig:
    """Returns the settings of the score chart: submissions and the best so far."""
    groups = [
        {"name": f"{each.name} {each.direction_key}".strip(), "colour": each.index, "by": each.name} for each in team
    ]
    best = [{"name": "best so far", "colour": 0, "end": _end(progress, over)}]
    plan = _scores([(view, progress)], metric, over)
    description = describe_scores(progress, metric, over)
    return plan | {"groups": groups, "best": best, "description": description, "version": _version(progress.points)}


def comparison_plot(
    chosen: Sequence[tuple[CampaignView, ComparedCampaign]], metric: Metric | None, over: HorizontalAxis
) -> ChartConfig:
    """Returns the settings of both campaigns' submissions and best so far."""
    sides = [(view, side.progress) for view, side in chosen]
    groups = [{"name": view.id, "colour": index, "by": ""} for index, (view, _) in enumerate(sides, 1)]
    best = [
        {"name": f"best of {view.id}", "colour": index, "end": _end(progress, over)}
        for index, (view, progress) in enumerate(sides, 1)
    ]
    description = describe_comparison([progress for _, progress in sides], metric, over)
    return _scores(sides, metric, over) | {"groups": groups, "best": best, "description": description, "version": 0}


def diversity_plot(view: CampaignView, progress: Progress, team: int) -> ChartConfig:
    """Returns the settings of the entropy with its band, and the Vendi score."""
    return {
        "kind": "diversity",
        "tables": [_table(view, "diversity")],
        "over": "hours",
        "end": max(progress.minutes, 1.0),
        "range": [0.0, diversity_top(progress, team)],
        "description": describe_diversity(progress.diversity),
        "version": len(progress.diversity),
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
            each | {"label": f"{each['name']} {typeset_score(each['at'])}{_ELSEWHERE.get(each['name'], '')}"}
            for each in lines
        ],
        "end": max(_end(progress, over) for _, progress in sides),
        "range": list(score_range([point for _, progress in sides for point in progress.points], metric)),
    }


def _table(view: CampaignView, name: str) -> str:
    return f"/api/v1{campaign_link(view.id)}/charts/{name}"


def _end(progress: Progress, over: HorizontalAxis) -> float:
    return max(progress.usd, 0.01) if over == "usd" else max(progress.minutes, 1.0)


def _version(points: Sequence[ScorePoint]) -> int:
    """Returns a number that changes when the table changes."""
    drawn = [(each.submission.number, each.submission.status, each.mean) for each in points]
    return zlib.crc32(repr(drawn).encode())


_templates = make_template_environment("aar.web")
_templates.globals.update(
    GLOBALS, score_plot=score_plot, diversity_plot=diversity_plot, comparison_plot=comparison_plot
)


def _standing(view: CampaignView) -> str:
    return view.state_text(format_time)


_templates.filters["standing"] = _standing
_PART = Markup("data-live")
_FRESH_PART = Markup('data-live hx-swap-oob="morph"')


def render_page(
    template: str, context: dict[str, Any] | None = None, *, status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    """Renders a page with the current user as ``me``. Every value is escaped.

    For a refresh it renders only the live parts.

    Templates mark a live part, which has an id, with ``live`` among its attributes. They leave other long parts out
    while ``refreshing``.
    """
    watching = current_refresh()
    who = current_user() if watching is None else watching if watching.role else None
    variables = {
        "me": who,
        "refreshing": watching is not None,
        "live": _FRESH_PART if watching else _PART,
        **(context or {}),
    }
    return HTMLResponse(_templates.get_template(template).render(variables), status, headers)


def log_row(logged: LoggedEvent) -> str:
    """Renders an event as a line of a page's log."""
    module: Any = _templates.get_template("macros.html").module
    return str(module.log_row(logged)).strip()
