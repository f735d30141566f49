"""Who looks at the page that is being rendered, for its header and its forms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from aar.web.sessions import Login, Sessions


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who logged in.

    Args:
        csrf: what each of their forms carries.
    """

    login: Login
    csrf: str
    sessions: Sessions
    refreshing: bool

    @property
    def name(self) -> str:
        """As they gave it."""
        return self.login.name

    @property
    def acts(self) -> bool:
        """Whether they may act."""
        return self.login.is_operator

    def take_note(self) -> str:
        """What became of their last form, once."""
        return "" if self.refreshing else self.sessions.take_note(self.login)


_visitor: ContextVar[Visitor | None] = ContextVar("aar_visitor", default=None)


@contextmanager
def visiting(sessions: Sessions, cookie: str, *, refreshing: bool = False) -> Iterator[None]:
    """Within, ``visitor`` tells who the cookie is of.

    Args:
        refreshing: whether an open page takes itself anew, which must not use up a line meant for the next page.
    """
    login = sessions.find(cookie) if cookie else None
    token = _visitor.set(None if login is None else Visitor(login, sessions.csrf(login), sessions, refreshing))
    try:
        yield
    finally:
        _visitor.reset(token)


def visitor() -> Visitor | None:
    """Who logged in at the browser that asks; None for nobody."""
    return _visitor.get()
