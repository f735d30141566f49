"""Request and response models of the forum API."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from fastapi import Header
from pydantic import BaseModel, ConfigDict, Field

from aar.forum.figures import FigureView
from aar.forum.markdown import FIGURE_SCHEME
from aar.forum.search import SimilarPost
from aar.forum.views import MAX_FAMILIES, Citation, CommentView, PostReference, PostView, ThreadView
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

    @classmethod
    def of(cls, view: PostView) -> PostOut:
        """Converts a service's view."""
        return cls(**{name: getattr(view, name) for name in cls.model_fields})


class CommentOut(BaseModel):
    """A comment."""

    id: int
    post_id: int
    author: str
    by_human: bool
    body: str
    created_at: datetime
    edited_at: datetime | None
    retracted_at: datetime | None
    retraction: str

    @classmethod
    def of(cls, view: CommentView) -> CommentOut:
        """Converts a service's view."""
        return cls(**{name: getattr(view, name) for name in cls.model_fields})


class WrittenPostOut(PostOut):
    """A post that was just written."""

    similar: list[SimilarPost] = []
    """Near-duplicate posts, nearest first."""


class FigureOut(BaseModel):
    """An image that texts show."""

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

    @classmethod
    def of(cls, view: FigureView) -> FigureOut:
        """Converts a service's view."""
        facts = {name: getattr(view, name) for name in cls.model_fields if name != "markdown"}
        return cls(**facts, markdown=f"![]({FIGURE_SCHEME}{view.short})")


class ThreadOut(BaseModel):
    """A post with its comments, oldest first, and the figures that they show."""

    post: PostOut
    comments: list[CommentOut]
    figures: list[FigureOut] = []

    @classmethod
    def of(cls, thread: ThreadView, figures: Iterable[FigureView]) -> ThreadOut:
        """Converts services' views; each figure once."""
        return cls(
            post=PostOut.of(thread.post),
            comments=[CommentOut.of(each) for each in thread.comments],
            figures=[FigureOut.of(each) for each in dict.fromkeys(figures)],
        )


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
