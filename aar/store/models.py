"""Every table, in one place: the schema that the migrations build."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from aar.store.types import Usd, UtcDateTime, now

_big_key = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """Base of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Campaign(Base):
    """One team on one problem under one budget."""

    __tablename__ = "campaign"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    problem: Mapped[str] = mapped_column(String(500))
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16))
    """created, running, paused, finished, failed."""
    cause: Mapped[str] = mapped_column(Text, default="")
    secret: Mapped[str] = mapped_column(String(64))
    """Seeds and splits are drawn from it; it never leaves the controller."""
    controller: Mapped[str] = mapped_column(String(200), default="")
    """host:pid:start of the controller that runs it; empty when none does."""
    heartbeat_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    address: Mapped[str] = mapped_column(String(200), default="")
    """Where its pages are served while it runs."""
    sandbox: Mapped[str] = mapped_column(String(32), default="")
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Researcher(Base):
    """One agent: a model, a conversation, a sandbox, a direction, a state."""

    __tablename__ = "researcher"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    index: Mapped[int]
    direction_key: Mapped[str] = mapped_column(String(64))
    direction: Mapped[str] = mapped_column(Text)
    family: Mapped[str] = mapped_column(String(32), default="other")
    model: Mapped[str] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(16))
    """created, running, waiting, paused, finished, failed."""
    cause: Mapped[str] = mapped_column(Text, default="")
    doing: Mapped[str] = mapped_column(Text, default="")
    """What it is doing now, one line."""
    token_hash: Mapped[str] = mapped_column(String(64), default="", index=True)
    """SHA-256 of its forum token."""
    active_seconds: Mapped[float] = mapped_column(default=0.0)
    """Agent-seconds worked: wall clock while its supervisor ran."""
    __table_args__ = (UniqueConstraint("campaign_id", "index"),)


class EventRecord(Base):
    """One line of the append-only log."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(_big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"))
    researcher_id: Mapped[str | None] = mapped_column(ForeignKey("researcher.id"))
    kind: Mapped[str] = mapped_column(String(40))
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    __table_args__ = (
        Index(None, "campaign_id", "id"),
        Index(None, "researcher_id", "id"),
    )


class Post(Base):
    """A post on the forum."""

    __tablename__ = "post"

    id: Mapped[int] = mapped_column(_big_key, primary_key=True, autoincrement=True)
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
    __table_args__ = (
        UniqueConstraint("campaign_id", "idempotency_key"),
        Index(None, "campaign_id", "id"),
    )


class Comment(Base):
    """A comment on a post."""

    __tablename__ = "comment"

    id: Mapped[int] = mapped_column(_big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"))
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id"), index=True)
    researcher_id: Mapped[str | None] = mapped_column(ForeignKey("researcher.id"))
    author: Mapped[str] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text)
    idempotency_key: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    __table_args__ = (
        UniqueConstraint("campaign_id", "idempotency_key"),
        Index(None, "campaign_id", "id"),
    )


class Vote(Base):
    """One voter's vote on one post: +1 or -1, changed by voting again."""

    __tablename__ = "vote"

    id: Mapped[int] = mapped_column(_big_key, primary_key=True, autoincrement=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id"))
    voter: Mapped[str] = mapped_column(String(80))
    """A researcher's id, or "human:" and a person's name."""
    value: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    __table_args__ = (UniqueConstraint("post_id", "voter"),)


class Snapshot(Base):
    """A content-addressed copy of a workspace or method, and where it came from."""

    __tablename__ = "snapshot"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 over names, modes and contents."""
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    researcher_id: Mapped[str | None] = mapped_column(ForeignKey("researcher.id"))
    parent: Mapped[str | None] = mapped_column(String(64))
    files: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)


class Submission(Base):
    """A method handed in: frozen code and claim; its score comes later, from scoring runs only."""

    __tablename__ = "submission"

    id: Mapped[int] = mapped_column(_big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"), index=True)
    number: Mapped[int]
    """Its number within the campaign, shown as s<number>."""
    researcher_id: Mapped[str] = mapped_column(ForeignKey("researcher.id"), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    parent: Mapped[str | None] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(String(200))
    claim: Mapped[str] = mapped_column(Text)
    families: Mapped[list[str]] = mapped_column(JSON, default=list)
    state: Mapped[str] = mapped_column(String(16))
    """queued, scoring, measured, rejected."""
    status: Mapped[str] = mapped_column(String(16), default="claimed")
    """claimed, measured, confirmed, refuted."""
    verdict: Mapped[str] = mapped_column(Text, default="")
    """For the researcher: the score as shown, or why there is none."""
    mean: Mapped[float | None]
    standard_error: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    by_domain: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    seeds: Mapped[int] = mapped_column(default=0)
    idempotency_key: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    __table_args__ = (
        UniqueConstraint("campaign_id", "number"),
        UniqueConstraint("campaign_id", "idempotency_key"),
    )


class ScoringRun(Base):
    """One clean-room execution of a submission on one domain and split."""

    __tablename__ = "scoring_run"

    id: Mapped[int] = mapped_column(_big_key, primary_key=True, autoincrement=True)
    submission_id: Mapped[int] = mapped_column(ForeignKey("submission.id"), index=True)
    index: Mapped[int]
    stage: Mapped[str] = mapped_column(String(16))
    domain: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int] = mapped_column(BigInteger)
    split_seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    """queued, running, scored, failed, skipped."""
    verdict: Mapped[str] = mapped_column(Text, default="")
    output_digest: Mapped[str | None] = mapped_column(String(64))
    parts: Mapped[dict[str, float]] = mapped_column(JSON, default=dict)
    """What the problem measured; never shown to a researcher."""
    seconds: Mapped[float] = mapped_column(default=0.0)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    __table_args__ = (UniqueConstraint("submission_id", "stage", "index"),)


class LedgerEntry(Base):
    """One reservation and what became of it."""

    __tablename__ = "ledger_entry"

    id: Mapped[int] = mapped_column(_big_key, primary_key=True, autoincrement=True)
    request_id: Mapped[str] = mapped_column(String(64), unique=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"))
    researcher_id: Mapped[str | None] = mapped_column(ForeignKey("researcher.id"))
    kind: Mapped[str] = mapped_column(String(16))
    """model, compute, scoring."""
    state: Mapped[str] = mapped_column(String(16))
    """reserved, settled, released, lost (charged at its worst case: nobody knows what it cost)."""
    model: Mapped[str] = mapped_column(String(100), default="")
    reserved_usd: Mapped[Decimal] = mapped_column(Usd)
    usd: Mapped[Decimal] = mapped_column(Usd, default=Decimal(0))
    reserved_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    input_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    cache_write_5m_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    cache_write_1h_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    cache_read_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    output_tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    server_tool_uses: Mapped[int] = mapped_column(default=0)
    seconds: Mapped[float] = mapped_column(default=0.0)
    """Core- or GPU-seconds for compute and scoring; seconds of waiting for a model."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    __table_args__ = (
        Index(None, "campaign_id", "researcher_id"),
        Index(None, "campaign_id", "state"),
    )


class Control(Base):
    """What a person asked a running campaign to do; its controller looks here."""

    __tablename__ = "control"

    id: Mapped[int] = mapped_column(_big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"), index=True)
    command: Mapped[str] = mapped_column(String(32))
    """pause, stop, message."""
    argument: Mapped[str] = mapped_column(Text, default="")
    by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    handled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
