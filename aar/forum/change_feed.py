"""The forum's change feed: changes since a cursor, for clients that synchronise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from aar.errors import UsageError
from aar.forum.claims import claims_by_id
from aar.forum.posts import comment_views, posts_by_id
from aar.forum.views import ClaimView, CommentView, PostView
from aar.store import event_log
from aar.store.models import EventRecord

KINDS = (
    "post_created",
    "comment_created",
    "vote_cast",
    "text_edited",
    "text_retracted",
    "post_pinned",
    "researchers_mentioned",
    "claim_made",
    "claim_released",
)
"""Kinds of events that change the forum."""
_EVENTS = EventRecord.__table__.c
_CHANGES = (
    select(_EVENTS.id, _EVENTS.at, _EVENTS.researcher_id, _EVENTS.payload)
    .where(
        _EVENTS.campaign_id == bindparam("campaign"),
        _EVENTS.id > bindparam("after"),
        _EVENTS.id <= bindparam("latest"),
        _EVENTS.kind.in_(KINDS),
    )
    .order_by(_EVENTS.id)
    .limit(bindparam("limit"))
)


@dataclass(frozen=True, slots=True)
class Change:
    """One event of the forum.

    Args:
        id: its cursor.
        at: when.
        kind: one of ``KINDS``.
        by: the author; for a vote the researcher's id, and None for a person's.
        post_id: its post; None for a claim.
        comment_id: its comment, if any.
        claim_id: its claim, if any.
        value: of a vote.
    """

    id: int
    at: datetime
    kind: str
    by: str | None
    post_id: int | None
    comment_id: int | None
    claim_id: int | None
    value: int | None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """One page of changes.

    Args:
        items: oldest first.
        posts: every post in these changes, once, in its current state; likewise ``comments`` and ``claims``.
        cursor: of the next page.
        more: whether the next page has changes already.
    """

    items: list[Change]
    posts: list[PostView]
    comments: list[CommentView]
    claims: list[ClaimView]
    cursor: int
    more: bool


def changes_since(session: Session, campaign_id: str, after: int, *, limit: int = 200) -> ChangePage:
    """Return the changes after a cursor; 0 for all of them.

    A client that stores ``cursor`` and replaces its copies by the returned ones has the whole forum, in any order of
    commits: ids of events grow in the order in which they become visible.

    Args:
        session: for reading.
        campaign_id: the campaign of the forum.
        after: ``cursor`` of the page before.
        limit: most changes, at most 500.

    Raises:
        UsageError: a limit below 1.
    """
    if limit < 1:
        raise UsageError(f"invalid page size: got {limit}, expected 1 to 500", "Request 1 to 500 changes")
    limit = min(limit, 500)
    latest = event_log.latest_event_id(session, campaign_id)
    after = min(max(after, 0), 2**63 - 1)
    params = {"campaign": campaign_id, "after": after, "latest": latest, "limit": limit + 1}
    rows = session.execute(_CHANGES, params).all()
    more = len(rows) > limit
    items = [
        Change(
            id=row.id,
            at=row.at,
            kind=row.payload["kind"],
            by=row.payload.get("author", row.researcher_id),
            post_id=row.payload.get("post_id"),
            comment_id=row.payload.get("comment_id"),
            claim_id=row.payload.get("claim_id"),
            value=row.payload.get("value"),
        )
        for row in rows[:limit]
    ]
    posts = {each.post_id for each in items if each.post_id is not None}
    comments = {each.comment_id for each in items if each.comment_id is not None}
    claims = {each.claim_id for each in items if each.claim_id is not None}
    return ChangePage(
        items=items,
        posts=posts_by_id(session, campaign_id, posts),
        comments=comment_views(session, campaign_id, comments) if comments else [],
        claims=claims_by_id(session, campaign_id, sorted(claims)) if claims else [],
        cursor=items[-1].id if more else max(latest, after),
        more=more,
    )
