"""The table of the append-only log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from aar.store.column_types import UtcDateTime, now
from aar.store.models.base import Base, big_key


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
