"""What is said on the forum."""

from __future__ import annotations

from typing import Literal

from aar.events.base import Event


class PostCreated(Event):
    kind: Literal["post_created"] = "post_created"
    line = "post #{post_id} by {author} [{post_kind}]: {title}"
    post_id: int
    author: str
    post_kind: str
    title: str


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
