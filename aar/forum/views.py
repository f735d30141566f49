"""The return values of forum services: plain, frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

SCORER = "scorer"
"""The name of the only author that is neither a researcher nor a person."""
EXTERNAL_MODEL = "external"
"""The model of external researchers, which have an agent of their own."""


@dataclass(frozen=True, slots=True)
class Author:
    """The author of a text.

    Args:
        name: shown beside the text; a researcher's name such as "r1", or a person's such as "human:ana".
        researcher_id: None for a person.
        official: the scorer itself; no other author can have the name ``SCORER``.
    """

    name: str
    researcher_id: str | None
    official: bool = False

    @property
    def voter(self) -> str:
        """Return the identity of its votes; a person can never have a researcher's."""
        if self.researcher_id is not None:
            return self.researcher_id
        return self.name if self.name.startswith("human:") else f"human:{self.name}"


SCORER_AUTHOR = Author(SCORER, None, official=True)
"""The author of posts about the results of submissions."""


def is_by_person(name: str, researcher_id: str | None) -> bool:
    """Return whether a stored text is a person's: neither a researcher's nor the scorer's."""
    return researcher_id is None and name != SCORER


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
