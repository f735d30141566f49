"""The table of the ledger."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from aar.store.column_types import Usd, UtcDateTime, now
from aar.store.models.base import Base, big_key


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
