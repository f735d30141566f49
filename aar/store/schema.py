"""Migrates a database to this program's schema, once, across processes.

Any number of processes may start together.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text

from aar.errors import DatabaseError
from aar.store.database import Database, translate_errors

HEAD = "0011"
"""The newest migration; known here so that an up-to-date database opens without loading Alembic."""
VERSION_TABLE = "alembic_version"
_MIGRATION_LOCK = 0x_AA4_5C4E


def ensure_schema(database: Database) -> None:
    """Create or migrate the tables, unless they are current.

    Raises:
        DatabaseError: the database is newer than this program, is not one of aar's, or cannot be used.
    """
    with translate_errors(database.shown):
        with database.engine.connect() as connection:
            current = _is_current(connection, database)
        if not current:
            _migrate(database)


def _is_current(connection: Connection, database: Database) -> bool:
    found = _version(connection, database)
    if found is not None and found > HEAD:
        raise DatabaseError(
            f"database {database.shown} has schema {found}, newer than this program's {HEAD}",
            "Upgrade it (pip install --upgrade aar), or set AAR_DATABASE to another database",
        )
    return found == HEAD


def _version(connection: Connection, database: Database) -> str | None:
    """Return the schema's version; None for an empty database."""
    if database.is_sqlite:
        tables = set(connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table'")))
        if tables and VERSION_TABLE not in tables:
            raise DatabaseError(f"{database.shown} belongs to another program", "Choose another file")
        present = bool(tables)
    else:
        present = connection.scalar(text("SELECT to_regclass(:name)"), {"name": VERSION_TABLE}) is not None
    if not present:
        return None
    found: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 - a constant
    if found is not None and not (len(found) == len(HEAD) and found.isdigit()):
        raise DatabaseError(f"{database.shown} has the unknown schema {found!r}", "Choose another database")
    return found


def _migrate(database: Database) -> None:
    from alembic import command  # only here: loading it costs more than a whole reading command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with database.engine.execution_options(aar_write=True).begin() as connection:
        if not database.is_sqlite:  # SQLite's BEGIN IMMEDIATE already excludes other migrations
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        if not _is_current(connection, database):
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
