"""The table of content-addressed copies."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from aar.store.column_types import UtcDateTime, now
from aar.store.models.base import Base


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
