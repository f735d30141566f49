"""What forum services return: plain, frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

SCORER = "scorer"
"""The name of the one author that is neither a researcher nor a person."""
EXTERNAL_MODEL = "external"
"""Stands for the model of a researcher that works outside, with an agent of its own."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes.

    Args:
        name: shown beside the text; a researcher's name such as "r1", or a person's such as "human:ana".
        researcher_id: None for a person.
        official: the scorer itself, under the name ``SCORER``, which nobody else can write under.
    """

    name: str
    researcher_id: str | None
    official: bool = False

    @property
    def voter(self) -> str:
        """The identity that a vote is kept under; a person can never have a researcher's."""
        if self.researcher_id is not None:
            return self.researcher_id
        return self.name if self.name.startswith("human:") else f"human:{self.name}"


SCORER_AUTHOR = Author(SCORER, None, official=True)
"""Tells on the forum what became of a submission."""


def is_by_person(name: str, researcher_id: str | None) -> bool:
    """Whether a stored text is a person's: neither a researcher's nor the scorer's."""
    return researcher_id is None and name != SCORER


@dataclass(frozen=True, slots=True)
class Citation:
    """A submission that a post cites, and how it stands now: claimed, measured, confirmed, refuted, rejected or
    disqualified."""

    number: int
    status: str


@dataclass(frozen=True, slots=True)
class PostReference:
    """A post that another one names as ``#12``; its status is "retracted", or empty while it stands."""

    id: int
    title: str
    status: str


@dataclass(frozen=True, slots=True)
class PostView:
    """A post with its votes, the number of its comments, and the submissions and posts that it names."""

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
    """The families of ideas that its author labelled it with, the leading one first."""


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
    """What a post, or a comment on it, said until somebody wrote over it."""

    post_id: int
    comment_id: int | None
    title: str
    body: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ClaimView:
    """What a researcher says it works on, and until when."""

    id: int
    author: str
    topic: str
    created_at: datetime
    expires_at: datetime
