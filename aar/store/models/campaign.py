"""Tables of campaigns, their researchers, and control requests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from aar.store.column_types import UtcDateTime, now
from aar.store.models.base import Base, big_key


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
