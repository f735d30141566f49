"""Files of the pages: kept by browsers, and asked after each time, so that an upgrade is never half seen."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles


class StaticAssets(StaticFiles):
    """A folder of them; an unchanged one is not sent again (304)."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """A file, or that it has not changed."""
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = "private, no-cache"
        return answer
