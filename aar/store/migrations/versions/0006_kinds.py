"""An index for pages that search a long log for one kind of event.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_event_kind", "event", ["campaign_id", "kind", "id"])
