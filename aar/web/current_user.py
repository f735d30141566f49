"""The current user of the page being rendered, for its header and forms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.requests import Request

from aar.auth.sessions import Login, Role, SessionStore


@dataclass(frozen=True, slots=True)
class CurrentUser:
    """A logged-in person.

    Args:
        csrf: the CSRF token of their forms.
    """

    login: Login
    csrf: str
    sessions: SessionStore

    @property
    def name(self) -> str:
        """Returns the name from the login."""
        return self.login.name

    @property
    def is_operator(self) -> bool:
        """Returns True if they may act."""
        return self.login.is_operator

    def take_note(self) -> str:
        """Removes and returns the result of their last form."""
        return self.sessions.take_note(self.login)


@dataclass(frozen=True, slots=True)
class PageRefresh:
    """A refresh of an open page: a role without a name or CSRF token.

    One rendering serves all watchers of a role, so it must not contain data of a single login.

    Args:
        role: None without a login.
    """

    role: Role | None

    @property
    def is_operator(self) -> bool:
        """Returns True if they may act."""
        return self.role == "operator"


SEEN_HEADER = "aar-seen"
"""Header in which an open page names the newest event that it must show, see ``aar.web.middleware.render_cache``."""


def is_refresh(request: Request) -> bool:
    """Returns True if an open page refreshes its live parts or chart data."""
    return request.method == "GET" and ("hx-request" in request.headers or SEEN_HEADER in request.headers)


_who: ContextVar[CurrentUser | PageRefresh | None] = ContextVar("aar_who", default=None)


@contextmanager
def current_user_scope(sessions: SessionStore, cookie: str, *, refreshing: bool = False) -> Iterator[None]:
    """Sets ``current_user`` to the owner of the cookie within the block.

    Args:
        refreshing: True if an open page refreshes its live parts; it is then a watcher and not a visitor.
    """
    login = sessions.find_login(cookie) if cookie else None
    who: CurrentUser | PageRefresh | None = (
        None if login is None else CurrentUser(login, sessions.csrf(login), sessions)
    )
    token = _who.set(PageRefresh(None if login is None else login.role) if refreshing else who)
    try:
        yield
    finally:
        _who.reset(token)


def current_user() -> CurrentUser | None:
    """Returns the logged-in person; None without a login, and during a refresh."""
    who = _who.get()
    return who if isinstance(who, CurrentUser) else None


def current_refresh() -> PageRefresh | None:
    """Returns the refresh of an open page; None if a whole page is requested."""
    who = _who.get()
    return who if isinstance(who, PageRefresh) else None
