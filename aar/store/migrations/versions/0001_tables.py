"""Every table of the first version.

Revision ID: 0001
Revises: none
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "campaign",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("problem", sa.String(length=500), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("secret", sa.String(length=64), nullable=False),
        sa.Column("controller", sa.String(length=200), nullable=False),
        sa.Column("heartbeat_at", _TIME, nullable=True),
        sa.Column("address", sa.String(length=200), nullable=False),
        sa.Column("sandbox", sa.String(length=32), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME, nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_campaign"),
    )
    op.create_table(
        "control",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("command", sa.String(length=32), nullable=False),
        sa.Column("argument", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("handled_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_control_campaign_id"),
        sa.PrimaryKeyConstraint("id", name="pk_control"),
    )
    op.create_index("ix_control_campaign_id", "control", ["campaign_id"])
    op.create_table(
        "researcher",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("direction_key", sa.String(length=64), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("doing", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("active_seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_researcher_campaign_id"),
        sa.PrimaryKeyConstraint("id", name="pk_researcher"),
        sa.UniqueConstraint("campaign_id", "index", name="uq_researcher_campaign_id_index"),
    )
    op.create_index("ix_researcher_campaign_id", "researcher", ["campaign_id"])
    op.create_index("ix_researcher_token_hash", "researcher", ["token_hash"])
    op.create_table(
        "event",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("researcher_id", sa.String(length=32), nullable=True),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_event_campaign_id"),
        sa.ForeignKeyConstraint(["researcher_id"], ["researcher.id"], name="fk_event_researcher_id"),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
    )
    op.create_index("ix_event_campaign_id_id", "event", ["campaign_id", "id"])
    op.create_index("ix_event_researcher_id_id", "event", ["researcher_id", "id"])
    op.create_table(
        "ledger_entry",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("researcher_id", sa.String(length=32), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("reserved_usd", sa.BigInteger(), nullable=False),
        sa.Column("usd", sa.BigInteger(), nullable=False),
        sa.Column("reserved_tokens", sa.BigInteger(), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_5m_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_write_1h_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cache_read_tokens", sa.BigInteger(), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), nullable=False),
        sa.Column("server_tool_uses", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("settled_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_ledger_entry_campaign_id"),
        sa.ForeignKeyConstraint(["researcher_id"], ["researcher.id"], name="fk_ledger_entry_researcher_id"),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_entry"),
        sa.UniqueConstraint("request_id", name="uq_ledger_entry_request_id"),
    )
    op.create_index("ix_ledger_entry_campaign_id_researcher_id", "ledger_entry", ["campaign_id", "researcher_id"])
    op.create_index("ix_ledger_entry_campaign_id_state", "ledger_entry", ["campaign_id", "state"])
    op.create_table(
        "snapshot",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("researcher_id", sa.String(length=32), nullable=True),
        sa.Column("parent", sa.String(length=64), nullable=True),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_snapshot_campaign_id"),
        sa.ForeignKeyConstraint(["researcher_id"], ["researcher.id"], name="fk_snapshot_researcher_id"),
        sa.PrimaryKeyConstraint("digest", "campaign_id", name="pk_snapshot"),
    )
    op.create_table(
        "submission",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("researcher_id", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("parent", sa.String(length=64), nullable=True),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("claim", sa.Text(), nullable=False),
        sa.Column("families", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("mean", sa.Double(), nullable=True),
        sa.Column("standard_error", sa.Double(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("by_domain", sa.JSON(), nullable=False),
        sa.Column("seeds", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=100), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_submission_campaign_id"),
        sa.ForeignKeyConstraint(["researcher_id"], ["researcher.id"], name="fk_submission_researcher_id"),
        sa.PrimaryKeyConstraint("id", name="pk_submission"),
        sa.UniqueConstraint("campaign_id", "idempotency_key", name="uq_submission_campaign_id_idempotency_key"),
        sa.UniqueConstraint("campaign_id", "number", name="uq_submission_campaign_id_number"),
    )
    op.create_index("ix_submission_campaign_id", "submission", ["campaign_id"])
    op.create_index("ix_submission_researcher_id", "submission", ["researcher_id"])
    op.create_table(
        "post",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("researcher_id", sa.String(length=32), nullable=True),
        sa.Column("author", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("submission_id", _KEY, nullable=True),
        sa.Column("score", sa.Integer(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=100), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_post_campaign_id"),
        sa.ForeignKeyConstraint(["researcher_id"], ["researcher.id"], name="fk_post_researcher_id"),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name="fk_post_submission_id"),
        sa.PrimaryKeyConstraint("id", name="pk_post"),
        sa.UniqueConstraint("campaign_id", "idempotency_key", name="uq_post_campaign_id_idempotency_key"),
    )
    op.create_index("ix_post_campaign_id_id", "post", ["campaign_id", "id"])
    op.create_table(
        "scoring_run",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("submission_id", _KEY, nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("domain", sa.String(length=64), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("split_seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("output_digest", sa.String(length=64), nullable=True),
        sa.Column("parts", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name="fk_scoring_run_submission_id"),
        sa.PrimaryKeyConstraint("id", name="pk_scoring_run"),
        sa.UniqueConstraint("submission_id", "stage", "index", name="uq_scoring_run_submission_id_stage_index"),
    )
    op.create_index("ix_scoring_run_submission_id", "scoring_run", ["submission_id"])
    op.create_table(
        "comment",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("post_id", _KEY, nullable=False),
        sa.Column("researcher_id", sa.String(length=32), nullable=True),
        sa.Column("author", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=100), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name="fk_comment_campaign_id"),
        sa.ForeignKeyConstraint(["post_id"], ["post.id"], name="fk_comment_post_id"),
        sa.ForeignKeyConstraint(["researcher_id"], ["researcher.id"], name="fk_comment_researcher_id"),
        sa.PrimaryKeyConstraint("id", name="pk_comment"),
        sa.UniqueConstraint("campaign_id", "idempotency_key", name="uq_comment_campaign_id_idempotency_key"),
    )
    op.create_index("ix_comment_campaign_id_id", "comment", ["campaign_id", "id"])
    op.create_index("ix_comment_post_id", "comment", ["post_id"])
    op.create_table(
        "vote",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("post_id", _KEY, nullable=False),
        sa.Column("voter", sa.String(length=80), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["post_id"], ["post.id"], name="fk_vote_post_id"),
        sa.PrimaryKeyConstraint("id", name="pk_vote"),
        sa.UniqueConstraint("post_id", "voter", name="uq_vote_post_id_voter"),
    )
