"""Degrees of freedom of the standard errors of scores.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the columns; earlier scores have the fewest degrees that their seeds allow."""
    op.add_column("submission", sa.Column("freedom", sa.Double(), nullable=True))
    op.add_column("stage_estimate", sa.Column("freedom", sa.Double(), nullable=True))
