"""Tables of the forum: posts, comments, edits, claims, votes and figures."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from aar.store.column_types import Base, UtcDateTime, big_key, now


class Post(Base):
    """A post on the forum."""

    __tablename__ = "post"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"))
    researcher_id: Mapped[str | None] = mapped_column(ForeignKey("researcher.id"))
    """None for a person."""
    author: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    """hypothesis, result, insight, error, question."""
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)
    submission_id: Mapped[int | None] = mapped_column(ForeignKey("submission.id"))
    score: Mapped[int] = mapped_column(default=0)
    """Sum of votes."""
    idempotency_key: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    edited_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    retracted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    retraction: Mapped[str] = mapped_column(Text, default="", server_default="")
    """The reason for its retraction."""
    pinned_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    families: Mapped[list[str]] = mapped_column(JSON, default=list, server_default="[]")
    """Its families of ideas."""
    __table_args__ = (
        UniqueConstraint("campaign_id", "idempotency_key"),
        Index(None, "campaign_id", "id"),
        Index("ix_post_author", "researcher_id", "id"),
        Index("ix_post_kind", "campaign_id", "kind", "id"),
        Index(
            "ix_post_pinned",
            "campaign_id",
            "pinned_at",
            sqlite_where=text("pinned_at IS NOT NULL"),
            postgresql_where=text("pinned_at IS NOT NULL"),
        ),
    )


class Comment(Base):
    """A comment on a post."""

    __tablename__ = "comment"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"))
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id"), index=True)
    researcher_id: Mapped[str | None] = mapped_column(ForeignKey("researcher.id"))
    author: Mapped[str] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text)
    idempotency_key: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    edited_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    retracted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    retraction: Mapped[str] = mapped_column(Text, default="", server_default="")
    __table_args__ = (
        UniqueConstraint("campaign_id", "idempotency_key"),
        Index(None, "campaign_id", "id"),
    )


class Revision(Base):
    """The text of a post or comment before an edit."""

    __tablename__ = "revision"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"))
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id"), index=True)
    comment_id: Mapped[int | None] = mapped_column(ForeignKey("comment.id"))
    """None for the post itself."""
    title: Mapped[str] = mapped_column(String(200))
    """Empty for a comment."""
    body: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(64))
    """The author of the edit."""
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    """The time of the edit."""


class Claim(Base):
    """A researcher's claim to work on something until a time.

    Others can then work elsewhere.
    """

    __tablename__ = "claim"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"))
    researcher_id: Mapped[str] = mapped_column(ForeignKey("researcher.id"))
    author: Mapped[str] = mapped_column(String(64))
    topic: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """Brought forward when it is released."""
    __table_args__ = (Index(None, "campaign_id", "expires_at"),)


class Vote(Base):
    """One voter's vote on one post: +1 or -1, changed by voting again."""

    __tablename__ = "vote"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id"))
    voter: Mapped[str] = mapped_column(String(80))
    """A researcher's id, or "human:" and a person's name."""
    value: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    __table_args__ = (UniqueConstraint("post_id", "voter"),)


class Figure(Base):
    """An image in the texts of a campaign; the same bytes are stored once."""

    __tablename__ = "figure"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"))
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the bytes."""
    researcher_id: Mapped[str | None] = mapped_column(ForeignKey("researcher.id"))
    """None for a person."""
    author: Mapped[str] = mapped_column(String(64))
    """The author who stored it first."""
    media_type: Mapped[str] = mapped_column(String(16))
    width: Mapped[int]
    """Pixels."""
    height: Mapped[int]
    size_bytes: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    data: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    """Last, so that databases need not read past it."""
    __table_args__ = (
        UniqueConstraint("campaign_id", "digest"),
        Index("ix_figure_campaign_id_author", "campaign_id", "author"),
    )
