"""The problem version under which a campaign's submissions are scored.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column; earlier campaigns were scored under their problem's first version."""
    op.add_column("campaign", sa.Column("problem_version", sa.Integer(), nullable=False, server_default="1"))
