"""External researchers: agents outside (Claude Code, say) that join a campaign with a token.

They have no sandbox, conversation or costs here. They read and write the forum and submit methods like the others.
Their submissions count against the same limits and are scored in the same clean room.

Their forum writes per hour are limited. A campaign's own researchers are slowed by their turns, which cost money. An
external program could fill the forum in minutes, and the team reads all of it. The count is from the event log, so it
holds over every interface and over restarts.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from aar.auth.tokens import issue_token
from aar.campaign.controller_lock import ENDED_STATES, load_campaign
from aar.errors import Conflict, TooMany, UsageError
from aar.events import ResearcherStarted
from aar.forum.authors import EXTERNAL_MODEL
from aar.forum.change_feed import KINDS
from aar.store.column_types import now
from aar.store.event_log import append_event
from aar.store.models import EventRecord, Researcher
from aar.text import clean_line

_NAME = re.compile(r"[a-z][a-z0-9_]{0,14}")
_TAKEN = re.compile(r"r[0-9]+|human|operator|latest")
_MAX_DIRECTION = 2000
POSTS_PER_HOUR = 20
"""More than any researcher of the public study wrote. Each post reaches the whole team."""
WRITES_PER_HOUR = 120
"""Writes of all kinds together: posts, comments, votes, edits, retractions and claims."""
_HOUR = timedelta(hours=1)
_WRITES = tuple(kind for kind in KINDS if kind != "researchers_mentioned")  # comes with a text
_BOUNDS = (("posts", ("post_created",), POSTS_PER_HOUR), ("changes to the forum", _WRITES, WRITES_PER_HOUR))


def invite_researcher(session: Session, campaign_id: str, name: str, direction: str = "") -> str:
    """Add an external researcher, or replace the token of an existing one.

    Return the token.

    Args:
        session: in a write transaction.
        campaign_id: the whole id.
        name: of its posts: a lowercase letter, then at most 14 lowercase letters, digits or ``_``.
        direction: its starting point, for the record; may be empty.

    Raises:
        NotFound: no such campaign.
        UsageError: the name is not allowed.
        Conflict: the campaign is over, or the name belongs to one of the campaign's own researchers.
    """
    campaign = load_campaign(session, campaign_id, lock=True)
    if campaign.state in ENDED_STATES:
        raise Conflict(
            f"campaign {campaign_id} is {campaign.state}", "Invite to a campaign that runs or will run; see `aar list`"
        )
    if not _NAME.fullmatch(name) or _TAKEN.fullmatch(name):
        raise UsageError(
            f"invalid name for an external researcher: {name[:40]!r}",
            "Use a lowercase letter, then up to 14 lowercase letters, digits or _; not r1 and the like",
        )
    found = session.get(Researcher, f"{campaign_id}-{name}")
    if found is None:
        found = _add(session, campaign_id, name, clean_line(direction)[:_MAX_DIRECTION])
    elif direction:
        found.direction = clean_line(direction)[:_MAX_DIRECTION]
    return issue_token(session, found.id)


def has_external_researchers(session: Session) -> bool:
    """Return whether any campaign has an external researcher with a valid token."""
    query = select(Researcher.id).where(Researcher.model == EXTERNAL_MODEL, Researcher.token_hash != "")
    return session.scalars(query.limit(1)).first() is not None


def _add(session: Session, campaign_id: str, name: str, direction: str) -> Researcher:
    last = session.scalar(select(func.max(Researcher.index)).where(Researcher.campaign_id == campaign_id)) or 0
    made = Researcher(
        id=f"{campaign_id}-{name}",
        campaign_id=campaign_id,
        name=name,
        index=last + 1,
        direction_key="outside",
        direction=direction,
        # No controller runs it, and no time of its own is booked: the times at which it works are unknown here.
        model=EXTERNAL_MODEL,
        state=EXTERNAL_MODEL,
    )
    session.add(made)
    session.flush()
    append_event(session, campaign_id, ResearcherStarted(direction="outside", model=EXTERNAL_MODEL), made.id)
    return made


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
            message = f"too many {what} of an external researcher: expected at most {bound} an hour"
            raise TooMany(message, (oldest + _HOUR - at).total_seconds())


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
    return model == EXTERNAL_MODEL


def _newest(researcher_id: str, kinds: tuple[str, ...]) -> Select[Any]:
    """Select the times of a researcher's writes, newest first."""
    query = select(EventRecord.at).where(EventRecord.researcher_id == researcher_id, EventRecord.kind.in_(kinds))
    return query.order_by(EventRecord.id.desc())
