"""Degrees of freedom of the standard errors of scores.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the columns; what was scored before has the fewest degrees that its seeds allow."""
    op.add_column("submission", sa.Column("freedom", sa.Float(), nullable=True))
    op.add_column("stage_estimate", sa.Column("freedom", sa.Float(), nullable=True))
