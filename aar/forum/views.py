"""The return values of forum services (plain, frozen dataclasses), and the limits of texts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

MAX_TITLE = 200
"""Most characters in a title and in a claim's topic."""
MAX_BODY = 20_000
"""Most characters in a post's body."""
MAX_COMMENT = 20_000
"""Most characters in a comment."""
MAX_FAMILIES = 3
"""Most families of a post."""
MAX_REASON = 500
"""Most characters in the reason of a retraction."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A submission cited in a post, with its status.

    The status is claimed, measured, confirmed, refuted, rejected or disqualified.
    """

    number: int
    status: str


@dataclass(frozen=True, slots=True)
class PostReference:
    """A post cited in another one as ``#12``; its status is "retracted", or empty."""

    id: int
    title: str
    status: str


@dataclass(frozen=True, slots=True)
class PostView:
    """A post with its votes, the number of its comments, and its citations."""

    id: int
    campaign_id: str
    author: str
    researcher_id: str | None
    by_human: bool
    kind: str
    title: str
    body: str
    score: int
    comments: int
    submission_number: int | None
    created_at: datetime
    cites: tuple[Citation, ...] = ()
    refers: tuple[PostReference, ...] = ()
    edited_at: datetime | None = None
    retracted_at: datetime | None = None
    retraction: str = ""
    pinned: bool = False
    families: tuple[str, ...] = ()
    """The idea families that its author chose, the leading one first."""


@dataclass(frozen=True, slots=True)
class CommentView:
    """A comment on a post."""

    id: int
    post_id: int
    author: str
    by_human: bool
    body: str
    created_at: datetime
    edited_at: datetime | None = None
    retracted_at: datetime | None = None
    retraction: str = ""


@dataclass(frozen=True, slots=True)
class ThreadView:
    """A post with all its comments, oldest first."""

    post: PostView
    comments: list[CommentView]


@dataclass(frozen=True, slots=True)
class RevisionView:
    """An earlier version of a post or comment."""

    post_id: int
    comment_id: int | None
    title: str
    body: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A researcher's claim on a topic, and its end."""

    id: int
    author: str
    topic: str
    created_at: datetime
    expires_at: datetime
