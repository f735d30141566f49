"""Static files of the pages.

Browsers store and revalidate them each time, so that an upgrade never mixes versions.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles


class StaticAssets(StaticFiles):
    """A folder of static files; an unchanged file is not sent again (304)."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Returns a file, or 304 if it has not changed."""
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = "private, no-cache"
        return answer
