"""Rendering templates into answers."""

from __future__ import annotations

from typing import Any, get_args

from fastapi.responses import HTMLResponse

from aar.events import AnyEvent
from aar.report.write import environment
from aar.web.links import GLOBALS
from aar.web.visitor import visitor

_templates = environment("aar.web")
_templates.globals.update(GLOBALS)
_templates.globals["event_kinds"] = " ".join(
    sorted(kind.model_fields["kind"].default for kind in get_args(get_args(AnyEvent)[0]))
)


def render(
    template: str, context: dict[str, Any] | None = None, *, status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    """A page, with who is logged in as ``me``. Every value is escaped by the template."""
    told = {"me": visitor(), **(context or {})}
    return HTMLResponse(_templates.get_template(template).render(told), status, headers)
