"""Edits with their history, retractions, pins, and researchers' claims.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns and tables."""
    for table in ("post", "comment"):
        op.add_column(table, sa.Column("edited_at", _TIME, nullable=True))
        op.add_column(table, sa.Column("retracted_at", _TIME, nullable=True))
        op.add_column(table, sa.Column("retraction", sa.Text(), nullable=False, server_default=""))
    op.add_column("post", sa.Column("pinned_at", _TIME, nullable=True))
    pinned = sa.text("pinned_at IS NOT NULL")
    op.create_index("ix_post_pinned", "post", ["campaign_id"], sqlite_where=pinned, postgresql_where=pinned)
    mentions = sa.text("kind = 'researchers_mentioned'")
    op.create_index(
        "ix_event_mentions", "event", ["campaign_id", "id"], sqlite_where=mentions, postgresql_where=mentions
    )
    op.create_table(
        "revision",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("post_id", _KEY, nullable=False),
        sa.Column("comment_id", _KEY, nullable=True),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_revision_campaign_id"),
        sa.ForeignKeyConstraint(["post_id"], ["post.id"], name="fk_revision_post_id"),
        sa.ForeignKeyConstraint(["comment_id"], ["comment.id"], name="fk_revision_comment_id"),
        sa.PrimaryKeyConstraint("id", name="pk_revision"),
    )
    op.create_index("ix_revision_post_id", "revision", ["post_id"])
    op.create_table(
        "claim",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("researcher_id", sa.String(length=32), nullable=False),
        sa.Column("author", sa.String(length=64), nullable=False),
        sa.Column("topic", sa.String(length=200), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_claim_campaign_id"),
        sa.ForeignKeyConstraint(["researcher_id"], ["researcher.id"], name="fk_claim_researcher_id"),
        sa.PrimaryKeyConstraint("id", name="pk_claim"),
    )
    op.create_index("ix_claim_campaign_id_expires_at", "claim", ["campaign_id", "expires_at"])
