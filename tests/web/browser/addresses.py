"""Every page that the application serves, found by asking it: a page without an example fails the walk."""

from __future__ import annotations

import re
from itertools import product
from typing import Final

from fastapi import FastAPI, routing

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "campaign_id": ("k3v9qd",),
    "name": ("r2",),
    "post_id": ("1", "5"),
    "comment_id": ("1",),
    "number": ("8", "12", "13", "14", "15"),
}
"""Values of what stands in braces in an address. A new name there needs a line here."""
ASKED: Final[dict[str, tuple[str, ...]]] = {
    "/campaigns/{campaign_id}": ("over=usd",),
    "/campaigns/{campaign_id}/posts": ("q=components", "q=zzzz", "author=r2&since=2026-01-01", "submission=s99"),
    "/campaigns/{campaign_id}/posts/{post_id}": ("similar=true",),
    "/campaigns/{campaign_id}/researchers/{name}/files": ("path=exp/a.py", "path=exp/plot.png"),
    "/compare": ("left=k3v9qd&right=m2x7pp", "left=k3v9qd&right=k3v9qd&over=usd"),
}
"""Questions (what follows the ``?``) to put to a page besides none."""
_NOT_PAGES: Final = ("/api/", "/mcp", "/static")


def pages_of(app: FastAPI) -> list[str]:
    """The addresses of an application's pages, with examples filled in.

    Raises:
        AssertionError: a page's address has a part that ``EXAMPLES`` does not know.
    """
    walk = getattr(routing, "iter_route_contexts", iter)  # routers lie nested since FastAPI 0.14x, flat before
    found = []
    for route in walk(app.routes):
        if "GET" not in (getattr(route, "methods", None) or ()) or route.path.startswith(_NOT_PAGES):
            continue
        if route.path.endswith("/live"):  # a stream
            continue
        names = re.findall(r"{(\w+)[^}]*}", route.path)
        unknown = set(names) - set(EXAMPLES)
        assert not unknown, f"{route.path} has no example: add {sorted(unknown)} to EXAMPLES"
        for values in product(*(EXAMPLES[name] for name in names)):
            path = route.path
            for name, value in zip(names, values, strict=True):
                path = re.sub(rf"{{{name}[^}}]*}}", value, path)
            found += [path, *(f"{path}?{question}" for question in ASKED.get(route.path, ()))]
    assert found
    return found
