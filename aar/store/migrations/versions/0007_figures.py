"""Figures of posts, and the families of a post.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the column and the table; earlier posts have no family."""
    op.add_column("post", sa.Column("families", sa.JSON(), nullable=False, server_default="[]"))
    op.create_table(
        "figure",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("researcher_id", sa.String(length=32), nullable=True),
        sa.Column("author", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=16), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_figure_campaign_id"),
        sa.ForeignKeyConstraint(["researcher_id"], ["researcher.id"], name="fk_figure_researcher_id"),
        sa.PrimaryKeyConstraint("id", name="pk_figure"),
        sa.UniqueConstraint("campaign_id", "digest", name="uq_figure_campaign_id_digest"),
    )
    op.create_index("ix_figure_campaign_id_author", "figure", ["campaign_id", "author"])
