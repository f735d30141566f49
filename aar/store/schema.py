"""Creates or migrates a database to this program's schema, once, across processes.

Any number of processes may start together. An empty SQLite file is created from ``schema.sql``, which holds what the
migrations together make; a test compares the two. Every other database is migrated.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text

from aar.errors import DatabaseError
from aar.store.database import Database, translate_errors
from aar.store.engine import BUSY_SECONDS

HEAD = "0011"
"""The newest migration; known here so that an up-to-date database opens without loading Alembic."""
VERSION_TABLE = "alembic_version"
SCHEMA_FILE = Path(__file__).with_name("schema.sql")
"""The statements that create an empty SQLite database, with a blank line between them."""
_MIGRATION_LOCK = 0x_AA4_5C4E


def open_database(url: str, *, busy_seconds: float = BUSY_SECONDS) -> Database:
    """Open a database, creating or migrating its tables if needed.

    Safe to call from several processes at once: one migrates, the others wait.

    Args:
        url: ``sqlite:///FILE`` (its folder is made) or ``postgresql+psycopg://USER@HOST/NAME``.
        busy_seconds: how long to wait for a lock of another process.

    Raises:
        DatabaseError: locked, unreachable, read-only, full, damaged, of another program, or newer than this one.
    """
    database = Database(url, busy_seconds=busy_seconds)
    try:
        with translate_errors(database.shown):
            with database.engine.connect() as connection:
                found = _version(connection, database)
            if found != HEAD:
                _build(database)
    except BaseException:
        database.close()
        raise
    return database


def _version(connection: Connection, database: Database) -> str | None:
    """Return the schema's version; None for an empty database.

    Raises:
        DatabaseError: the database is newer than this program, or is not one of aar's.
    """
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
    if found is not None and found > HEAD:
        raise DatabaseError(
            f"database {database.shown} has schema {found}, newer than this program's {HEAD}",
            "Upgrade it (pip install --upgrade aar), or set AAR_DATABASE to another database",
        )
    return found


def _build(database: Database) -> None:
    with database.engine.execution_options(aar_write=True).begin() as connection:
        if not database.is_sqlite:  # SQLite's BEGIN IMMEDIATE already excludes other migrations
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        found = _version(connection, database)
        if found is None and database.is_sqlite:
            for statement in SCHEMA_FILE.read_text(encoding="utf-8").split("\n\n"):
                connection.exec_driver_sql(statement)
        elif found != HEAD:
            migrate(connection)


def migrate(connection: Connection) -> None:
    """Run the missing migrations on a connection, in its transaction."""
    from alembic import command  # only here: loading it costs more than a whole reading command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(SCHEMA_FILE.with_name("migrations")).replace("%", "%%"))
    command.upgrade(config, "head")
