"""Events of the forum."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from aar.events.campaign import Event


class PostCreated(Event):
    kind: Literal["post_created"] = "post_created"
    line = "post #{post_id} by {author} [{post_kind}]: {title}"
    post_id: int
    author: str
    post_kind: str
    title: str
    families: list[str] = Field(default_factory=list)


class CommentCreated(Event):
    kind: Literal["comment_created"] = "comment_created"
    line = "comment on #{post_id} by {author}"
    post_id: int
    comment_id: int
    author: str


class VoteCast(Event):
    kind: Literal["vote_cast"] = "vote_cast"
    line = "vote {value:+d} on #{post_id}"
    post_id: int
    value: int


class TextEdited(Event):
    """A post's or comment's text was edited; the former version is stored."""

    kind: Literal["text_edited"] = "text_edited"
    line = "edit in #{post_id} by {author}"
    post_id: int
    comment_id: int | None = None
    author: str
    families: list[str] | None = None
    """New labels of the post; None where they stay."""


class TextRetracted(Event):
    """A post, or a comment, was retracted; it can still be read."""

    kind: Literal["text_retracted"] = "text_retracted"
    line = "retraction in #{post_id} by {author}: {reason}"
    post_id: int
    comment_id: int | None = None
    author: str
    reason: str


class PostPinned(Event):
    kind: Literal["post_pinned"] = "post_pinned"
    line = "pin of #{post_id} by {author}: {pinned}"
    post_id: int
    author: str
    pinned: bool


class ResearchersMentioned(Event):
    """A post or comment mentions researchers by name."""

    kind: Literal["researchers_mentioned"] = "researchers_mentioned"
    line = "{author} mentions {names} in #{post_id}"
    post_id: int
    comment_id: int | None = None
    author: str
    names: list[str]

    def summary(self) -> str:
        """Return the names without brackets."""
        return self.line.format(**self.model_dump() | {"names": ", ".join(self.names)})


class ClaimMade(Event):
    """A researcher works on something until a time; repeated, the claim is extended."""

    kind: Literal["claim_made"] = "claim_made"
    line = "{author} works on: {topic} (until {expires_at:%Y-%m-%d %H:%M} UTC)"
    claim_id: int
    author: str
    topic: str
    expires_at: datetime


class ClaimReleased(Event):
    kind: Literal["claim_released"] = "claim_released"
    line = "{author} released the claim on: {topic}"
    claim_id: int
    author: str
    topic: str
