"""Tables, sessions and migrations of the database.

Services take a ``Session``; programs start with :func:`open_database`.
"""

from __future__ import annotations

from aar.store.database import BUSY_SECONDS, Database
from aar.store.schema import ensure_schema

__all__ = ["Database", "open_database"]


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
        ensure_schema(database)
    except BaseException:
        database.close()
        raise
    return database
