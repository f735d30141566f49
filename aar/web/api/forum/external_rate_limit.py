"""Rate limit for forum writes of external researchers, shared by HTTP and MCP."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.orm import Session

from aar.campaign.external_researchers import check_external_rate
from aar.web.authentication import Identity, ResearcherIdentity

T = TypeVar("T")


def rate_limited_write(who: Identity, write: Callable[[Session], T]) -> Callable[[Session], T]:
    """Wraps a forum write, undone with TooMany above an external researcher's hourly limit."""

    def checked(session: Session) -> T:
        done = write(session)
        if isinstance(who, ResearcherIdentity):
            check_external_rate(session, who.researcher_id)
        return done

    return checked
