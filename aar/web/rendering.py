"""Renders templates into responses."""

from __future__ import annotations

from typing import Any

from fastapi.responses import HTMLResponse
from markupsafe import Markup

from aar.campaign.views import CampaignView
from aar.readmodels.formatting import format_time
from aar.report.html_report import make_template_environment
from aar.store.event_log import LoggedEvent
from aar.web.chart_config import comparison_plot, diversity_plot, score_plot
from aar.web.current_user import current_refresh, current_user
from aar.web.urls import GLOBALS

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
    told = {
        "me": who,
        "refreshing": watching is not None,
        "live": _FRESH_PART if watching else _PART,
        **(context or {}),
    }
    return HTMLResponse(_templates.get_template(template).render(told), status, headers)


def log_row(logged: LoggedEvent) -> str:
    """Renders an event as a line of a page's log."""
    module: Any = _templates.get_template("macros.html").module
    return str(module.log_row(logged)).strip()
