"""Who sits at this terminal."""

from __future__ import annotations


def author_name(name: str | None = None) -> str:
    """The name a person writes under: ``human:ana``; their login where they give none. Raises UsageError."""
    import getpass
    import re

    from aar.errors import UsageError

    if name is None:
        try:
            name = getpass.getuser()
        except (OSError, KeyError):
            name = "operator"
        name = re.sub(r"[^\w .-]+", "-", name)[:40] or "operator"
    if not re.fullmatch(r"[\w .-]{1,40}", name):
        raise UsageError(f"{name!r} is no name to write under", "Use 1 to 40 letters, digits, spaces, dots or dashes")
    return f"human:{name.strip()}"


def login_line(address: str, path: str) -> str:
    """What to say of an address that logs the person at this terminal in."""
    from aar.auth.login_links import LOGIN_LINK_SECONDS

    return f"{address}{path}  logs you in, once, within {LOGIN_LINK_SECONDS // 60} minutes"


def login_name() -> str:
    """The name that such a login is under."""
    return author_name().removeprefix("human:")
