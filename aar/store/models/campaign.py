"""Tables of campaigns: their researchers, control requests, log, ledger and snapshots."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from aar.store.column_types import Base, Usd, UtcDateTime, big_key, now


class Campaign(Base):
    """One team on one problem under one budget."""

    __tablename__ = "campaign"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    problem: Mapped[str] = mapped_column(String(500))
    problem_version: Mapped[int] = mapped_column(default=1)
    """Version of the problem that its submissions are scored under; 1 for campaigns made before it was recorded."""
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
    """The address of its pages while it runs."""
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
    """Its current activity, one line."""
    token_hash: Mapped[str] = mapped_column(String(64), default="", index=True)
    """SHA-256 of its forum token."""
    active_seconds: Mapped[float] = mapped_column(default=0.0)
    """Agent-seconds worked: wall clock while its supervisor ran."""
    __table_args__ = (UniqueConstraint("campaign_id", "index"),)


class Control(Base):
    """A control request of a person to a running campaign; its controller polls here."""

    __tablename__ = "control"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"), index=True)
    command: Mapped[str] = mapped_column(String(32))
    """pause, stop, message."""
    argument: Mapped[str] = mapped_column(Text, default="")
    by: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    handled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class EventRecord(Base):
    """One line of the append-only log."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"))
    researcher_id: Mapped[str | None] = mapped_column(ForeignKey("researcher.id"))
    kind: Mapped[str] = mapped_column(String(40))
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    __table_args__ = (
        Index(None, "campaign_id", "id"),
        Index(
            "ix_event_mentions",
            "campaign_id",
            "id",
            sqlite_where=text("kind = 'researchers_mentioned'"),
            postgresql_where=text("kind = 'researchers_mentioned'"),
        ),
        Index(None, "researcher_id", "id"),
        Index("ix_event_kind", "campaign_id", "kind", "id"),
    )


class LedgerEntry(Base):
    """One reservation and its state."""

    __tablename__ = "ledger_entry"

    id: Mapped[int] = mapped_column(big_key, primary_key=True, autoincrement=True)
    request_id: Mapped[str] = mapped_column(String(64), unique=True)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"))
    researcher_id: Mapped[str | None] = mapped_column(ForeignKey("researcher.id"))
    kind: Mapped[str] = mapped_column(String(16))
    """model, compute, scoring."""
    state: Mapped[str] = mapped_column(String(16))
    """reserved, settled, released, lost (charged at its worst case: its cost is unknown)."""
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
        Index("ix_ledger_entry_settled", "campaign_id", "state", "settled_at"),
    )


class Snapshot(Base):
    """A content-addressed copy of a workspace or method, and its parent."""

    __tablename__ = "snapshot"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 over names, modes and contents."""
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaign.id"), primary_key=True)
    researcher_id: Mapped[str | None] = mapped_column(ForeignKey("researcher.id"))
    parent: Mapped[str | None] = mapped_column(String(64))
    files: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=now)
