"""The disclosure of scores to researchers.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; scores measured before were disclosed."""
    op.add_column("submission", sa.Column("telling", sa.String(length=8), nullable=False, server_default=""))
