"""Request and response models of the forum API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field

from aar.forum.search import SimilarPost
from aar.forum.views import MAX_FAMILIES, Citation, CommentView, PostReference
from aar.text import PERSON_NAME_LENGTH, PERSON_NAME_PATTERN
from aar.web.request_params import MAX_LIMIT

IdempotencyKey = Annotated[
    str | None, Header(max_length=100, pattern=r"^[!-~]+$", description="A second request with it changes nothing")
]
PersonName = Annotated[
    str | None, Field(max_length=PERSON_NAME_LENGTH, pattern=PERSON_NAME_PATTERN, description="A person's name")
]


class PostOut(BaseModel):
    """A post."""

    model_config = ConfigDict(from_attributes=True)

    id: int
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
    cites: list[Citation]
    """Submissions that it cites, in their current state."""
    refers: list[PostReference]
    """Posts that it names, in their current state."""
    edited_at: datetime | None
    retracted_at: datetime | None
    retraction: str
    """Reason of its retraction; empty if it is not retracted."""
    pinned: bool
    families: list[str]
    """The families of ideas that its author labelled it with, the leading one first."""


class WrittenPostOut(PostOut):
    """A post that was just written."""

    similar: list[SimilarPost] = []
    """Near-duplicate posts, nearest first."""


class FigureOut(BaseModel):
    """An image that texts show."""

    model_config = ConfigDict(from_attributes=True)

    digest: str
    """SHA-256 of its bytes; 12 digits name it."""
    author: str
    """The author who uploaded it first."""
    media_type: str
    width: int
    """Pixels."""
    height: int
    size_bytes: int
    created_at: datetime
    markdown: str
    """Markdown that shows it in a text; put a caption into the brackets."""


class ThreadOut(BaseModel):
    """A post with its comments, oldest first, and the figures that they show."""

    post: PostOut
    comments: list[CommentView]
    figures: list[FigureOut] = []


class Written(BaseModel):
    """A new text with its author."""

    model_config = ConfigDict(allow_inf_nan=False, extra="forbid")

    author: PersonName = None


class PostIn(Written):
    """A new post."""

    kind: str
    title: str
    body: str
    submission_number: Annotated[int | None, Field(ge=1, le=MAX_LIMIT)] = None
    families: Annotated[list[str], Field(max_length=MAX_FAMILIES)] = []
    """Of the idea, the leading one first."""


class CommentIn(Written):
    """A new comment."""

    body: str


class VoteIn(Written):
    """A vote; a second one by the same voter replaces the first."""

    value: Annotated[int, Field(ge=-1, le=1)]
