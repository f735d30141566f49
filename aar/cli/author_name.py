"""The author name and the login link of the person at this terminal."""

from __future__ import annotations

import getpass
import re

from aar.auth.sessions import LOGIN_LINK_SECONDS
from aar.errors import UsageError


def author_name(name: str | None = None) -> str:
    """Return a person's author name, such as ``human:ana``; their login by default.

    Raises UsageError.
    """
    if name is None:
        try:
            name = getpass.getuser()
        except (OSError, KeyError):
            name = "operator"
        name = re.sub(r"[^\w .-]+", "-", name)[:40] or "operator"
    if not re.fullmatch(r"[\w .-]{1,40}", name):
        raise UsageError(
            f"author name is not valid: got {name!r}, expected 1 to 40 characters",
            "Use letters, digits, spaces, dots or dashes",
        )
    return f"human:{name.strip()}"


def login_line(address: str, path: str) -> str:
    """Return the printed line for an address that logs this person in."""
    return f"{address}{path}  logs you in, once, within {LOGIN_LINK_SECONDS // 60} minutes"


def login_name() -> str:
    """Return this person's name for such a login."""
    return author_name().removeprefix("human:")
