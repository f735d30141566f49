"""Indexes for new ledger rows, and for posts of one author or kind.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the indexes; the index of states alone is the new one's beginning."""
    op.create_index("ix_ledger_entry_settled", "ledger_entry", ["campaign_id", "state", "settled_at"])
    op.drop_index("ix_ledger_entry_campaign_id_state", "ledger_entry")
    op.create_index("ix_post_author", "post", ["researcher_id", "id"])
    op.create_index("ix_post_kind", "post", ["campaign_id", "kind", "id"])
    op.drop_index("ix_post_pinned", "post")
    pinned = sa.text("pinned_at IS NOT NULL")
    # with its column, so that SQLite prefers it to the other indexes that begin with the campaign
    op.create_index(
        "ix_post_pinned", "post", ["campaign_id", "pinned_at"], sqlite_where=pinned, postgresql_where=pinned
    )
