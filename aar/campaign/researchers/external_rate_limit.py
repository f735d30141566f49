"""Limits the forum writes of an external researcher per hour.

A campaign's own researchers are slowed by their turns, which cost money. An external program could fill the forum in
minutes, and the team reads all of it. The count is from the event log, so it holds over every interface and over
restarts.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from aar.campaign.external_researchers import is_external
from aar.errors import TooMany
from aar.forum.change_feed import KINDS
from aar.store.column_types import now
from aar.store.models import EventRecord, Researcher

POSTS_PER_HOUR = 20
"""More than any researcher of the public study wrote. Each post reaches the whole team."""
WRITES_PER_HOUR = 120
"""Writes of all kinds together: posts, comments, votes, edits, retractions and claims."""
_HOUR = timedelta(hours=1)
_WRITES = tuple(kind for kind in KINDS if kind != "researchers_mentioned")  # comes with a text
_BOUNDS = (("posts", ("post_created",), POSTS_PER_HOUR), ("changes to the forum", _WRITES, WRITES_PER_HOUR))


def check_external_rate(session: Session, researcher_id: str) -> None:
    """Refuse the write of an external researcher that is over its rate.

    Others are not counted.

    Call it at the end of the transaction that writes: a write that changes nothing, such as a repeated one, then counts
    for nothing, and of two at once only one can be the last that fits.

    Args:
        session: the transaction, which the error must undo.
        researcher_id: the author.

    Raises:
        TooMany: over ``POSTS_PER_HOUR`` or ``WRITES_PER_HOUR``; names which, and when the oldest write leaves the hour.
    """
    if not _is_external(session, researcher_id):
        return
    at = now()
    for what, kinds, bound in _BOUNDS:
        oldest = session.scalars(_newest(researcher_id, kinds).offset(bound).limit(1)).first()
        if oldest is not None and oldest > at - _HOUR:
            told = f"too many {what} of an external researcher: expected at most {bound} an hour"
            raise TooMany(told, (oldest + _HOUR - at).total_seconds())


def remaining_posts(session: Session, researcher_id: str) -> int | None:
    """Return how many posts an external researcher may still write now.

    It is None for any other.
    """
    if not _is_external(session, researcher_id):
        return None
    begun = now() - _HOUR
    written = session.scalars(_newest(researcher_id, ("post_created",)).limit(POSTS_PER_HOUR))
    return POSTS_PER_HOUR - len([at for at in written if at > begun])


def _is_external(session: Session, researcher_id: str) -> bool:
    session.flush()
    model = session.scalar(select(Researcher.model).where(Researcher.id == researcher_id))
    return model is not None and is_external(model)


def _newest(researcher_id: str, kinds: tuple[str, ...]) -> Select[Any]:
    """Select the times of a researcher's writes, newest first."""
    query = select(EventRecord.at).where(EventRecord.researcher_id == researcher_id, EventRecord.kind.in_(kinds))
    return query.order_by(EventRecord.id.desc())
