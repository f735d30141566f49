"""Confirmations, audits, and an append-only record of submissions.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True)
_ONLY_GROW = ("event", "status_change", "audit_finding")


def upgrade() -> None:
    """Add the tables and columns, and forbid changes to append-only rows."""
    op.create_table(
        "submission_check",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("submission_id", _KEY, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        *_belongs("submission_check"),
    )
    op.create_table(
        "stage_estimate",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("submission_id", _KEY, nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("mean", sa.Double(), nullable=False),
        sa.Column("standard_error", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("seeds", sa.Integer(), nullable=False),
        sa.Column("by_domain", sa.JSON(), nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name="fk_stage_estimate_submission_id"),
        sa.PrimaryKeyConstraint("id", name="pk_stage_estimate"),
        sa.UniqueConstraint("submission_id", "stage", name="uq_stage_estimate_submission_id_stage"),
    )
    op.create_table(
        "status_change",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("submission_id", _KEY, nullable=False),
        sa.Column("old", sa.String(length=16), nullable=False),
        sa.Column("new", sa.String(length=16), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        *_belongs("status_change"),
    )
    op.create_table(
        "audit_finding",
        sa.Column("id", _KEY, autoincrement=True, nullable=False),
        sa.Column("campaign_id", sa.String(length=16), nullable=False),
        sa.Column("submission_id", _KEY, nullable=False),
        sa.Column("audit", sa.String(length=32), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        *_belongs("audit_finding"),
    )
    for table in ("submission_check", "status_change", "audit_finding"):
        for column in ("campaign_id", "submission_id"):
            op.create_index(f"ix_{table}_{column}", table, [column])
    op.add_column("submission", sa.Column("hypothesis", sa.Text(), nullable=False, server_default=""))
    op.add_column("submission", sa.Column("identity", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("submission", sa.Column("charged_runs", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("submission", sa.Column("disqualified", sa.String(length=64), nullable=False, server_default=""))
    op.create_index("ix_submission_identity", "submission", ["identity"])
    op.execute("UPDATE submission SET identity = digest")
    with op.batch_alter_table("scoring_run") as runs:
        runs.add_column(sa.Column("check_id", _KEY, nullable=True))
        runs.create_foreign_key("fk_scoring_run_check_id", "submission_check", ["check_id"], ["id"])
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    if not on_sqlite:
        op.execute(
            "CREATE FUNCTION only_grows() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME; END $$"
        )
    for table in _ONLY_GROW:
        for statement in _sqlite_guard(table) if on_sqlite else _postgres_guard(table):
            op.execute(statement)


def _belongs(table: str) -> list[sa.Constraint]:
    return [
        sa.ForeignKeyConstraint(["campaign_id"], ["campaign.id"], name=f"fk_{table}_campaign_id"),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], name=f"fk_{table}_submission_id"),
        sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
    ]


def _sqlite_guard(table: str) -> list[str]:
    refuse = f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
    there = f"EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id)"  # noqa: S608 - constants
    return [
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {refuse}",
        f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}",
        # INSERT OR REPLACE removes a row without running the triggers on DELETE.
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {there} {refuse}",
    ]


def _postgres_guard(table: str) -> list[str]:
    return [
        f"CREATE TRIGGER {table}_only_grows BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION only_grows()",
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION only_grows()",
    ]
