"""Who looks at the page that is being rendered, for its header and its forms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.requests import Request

from aar.auth.sessions import Login, Role, SessionStore


@dataclass(frozen=True, slots=True)
class CurrentUser:
    """Somebody who logged in.

    Args:
        csrf: what each of their forms carries.
    """

    login: Login
    csrf: str
    sessions: SessionStore

    @property
    def name(self) -> str:
        """As they gave it."""
        return self.login.name

    @property
    def is_operator(self) -> bool:
        """Whether they may act."""
        return self.login.is_operator

    def take_note(self) -> str:
        """What became of their last form, once."""
        return self.sessions.take_note(self.login)


@dataclass(frozen=True, slots=True)
class PageRefresh:
    """An open page that takes its live parts anew: a role without a name or a form's token.

    One rendering serves all watchers of a role, so nothing that is one login's may get into it.

    Args:
        role: None for somebody who is not logged in.
    """

    role: Role | None

    @property
    def is_operator(self) -> bool:
        """Whether they may act."""
        return self.role == "operator"


SEEN_HEADER = "aar-seen"
"""Header in which an open page names the newest event that it must show, see ``aar.web.middleware.render_cache``."""


def is_refresh(request: Request) -> bool:
    """Whether an open page takes its live parts, or a figure's data, anew."""
    return request.method == "GET" and ("hx-request" in request.headers or SEEN_HEADER in request.headers)


_who: ContextVar[CurrentUser | PageRefresh | None] = ContextVar("aar_who", default=None)


@contextmanager
def current_user_scope(sessions: SessionStore, cookie: str, *, refreshing: bool = False) -> Iterator[None]:
    """Within, ``current_user`` tells who the cookie is of.

    Args:
        refreshing: whether an open page takes its live parts anew; it is then a watcher and no visitor.
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
    """Who logged in at the browser that asks; None for nobody, and for an open page that takes its parts anew."""
    who = _who.get()
    return who if isinstance(who, CurrentUser) else None


def current_refresh() -> PageRefresh | None:
    """The open page that takes its live parts anew; None where a page is asked for as a whole."""
    who = _who.get()
    return who if isinstance(who, PageRefresh) else None
