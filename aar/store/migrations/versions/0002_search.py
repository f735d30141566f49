"""Full-text search over posts and comments.

FTS5 on SQLite, tsvector columns with GIN indexes on PostgreSQL.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"

_INDEXED = {"post": ("title", "body"), "comment": ("body",)}


def upgrade() -> None:
    """Index existing rows and, from now on, every write."""
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for table, columns in _INDEXED.items():
        statements = _fts5(table, columns) if on_sqlite else _gin(table, columns)
        for statement in statements:
            op.execute(statement)


def _fts5(table: str, columns: tuple[str, ...]) -> list[str]:
    index = f"{table}_search"
    names = ", ".join(columns)
    old, new = (", ".join(f"{row}.{column}" for column in columns) for row in ("old", "new"))
    remove = f"INSERT INTO {index} ({index}, rowid, {names}) VALUES ('delete', old.id, {old})"  # noqa: S608 - constants
    add = f"INSERT INTO {index} (rowid, {names}) VALUES (new.id, {new})"  # noqa: S608 - constants
    return [
        f"CREATE VIRTUAL TABLE {index} USING fts5"
        f"({names}, content='{table}', content_rowid='id', tokenize='porter unicode61')",
        f"CREATE TRIGGER {index}_insert AFTER INSERT ON {table} BEGIN {add}; END",
        f"CREATE TRIGGER {index}_delete AFTER DELETE ON {table} BEGIN {remove}; END",
        f"CREATE TRIGGER {index}_update AFTER UPDATE OF {names} ON {table} BEGIN {remove}; {add}; END",
        f"INSERT INTO {index} ({index}) VALUES ('rebuild')",  # noqa: S608 - constants
    ]


def _gin(table: str, columns: tuple[str, ...]) -> list[str]:
    first, *others = columns
    weighed = [
        f"setweight(to_tsvector('english', {first}), 'A')",
        *(f"to_tsvector('english', {name})" for name in others),
    ]
    return [
        f"ALTER TABLE {table} ADD COLUMN {table}_search tsvector GENERATED ALWAYS AS ({' || '.join(weighed)}) STORED",
        f"CREATE INDEX ix_{table}_search ON {table} USING gin ({table}_search)",
    ]
