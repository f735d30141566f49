"""Opens an engine: reads a database's URL, connects to SQLite or PostgreSQL, sets what each needs."""

from __future__ import annotations

import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from aar.errors import DatabaseError
from aar.redaction import REDACTED_MARK, register_secret

BUSY_SECONDS = 15.0
# One for each worker thread that may read at once. A server counts them, so few stay open; a file does not, and
# opening a connection to it costs more than most reads.
_TO_A_SERVER = {"pool_size": 8, "max_overflow": 40}
_TO_A_FILE = {"pool_size": 48, "max_overflow": 0}
_WRITE = "Write sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
_SECRET_OPTIONS = ("password", "sslpassword")


def make_engine(url: str, busy_seconds: float) -> Engine:
    """Create an engine for SQLite or PostgreSQL (psycopg 3).

    On SQLite it sets WAL and foreign keys. Who uses it begins its transactions (see ``Database``).

    Args:
        url: SQLAlchemy URL; ``postgresql://`` and ``postgres://`` mean psycopg 3 too.
        busy_seconds: how long to wait for a lock of another process.

    Raises:
        DatabaseError: the URL, its driver or its folder cannot be used.
    """
    try:
        parsed = _parse(url)
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed, busy_seconds)
        return _postgresql(parsed, busy_seconds)
    except ArgumentError as error:
        raise DatabaseError(f"database URL is invalid: {error}", _WRITE) from error
    except NoSuchModuleError as error:
        raise DatabaseError(f"no database driver: {error}", "Use sqlite or postgresql+psycopg") from error
    except ModuleNotFoundError as error:
        raise DatabaseError(
            f"the database driver {error.name} is not installed", 'Install it with: pip install "aar[postgres]"'
        ) from error
    except OSError as error:
        raise DatabaseError(
            f"cannot make the database's folder: {error}", "Set AAR_HOME to a writable folder"
        ) from error


def parse_url(url: str) -> URL:
    """Parse a database URL; its password is shown nowhere from now on.

    Raises:
        DatabaseError: it is invalid. It is not quoted, because any part of it may be the password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseError("database URL is invalid", _WRITE) from None  # the cause may quote a part of the password
    for secret in (parsed.password, *(parsed.query.get(name) for name in _SECRET_OPTIONS)):
        for each in (secret,) if isinstance(secret, str) else secret or ():
            register_secret(str(each))
    if parsed.get_backend_name() != "sqlite" and "@" in f"{parsed.host}{parsed.database}":
        raise DatabaseError("database URL has more than one @", "Write @, / and : in a password as %40, %2F and %3A")
    return parsed


def display_url(url: URL) -> str:
    """Return a URL for people, without its password.

    The password is removed from every place that may hold it.
    """
    kept = {name: REDACTED_MARK if name in _SECRET_OPTIONS else value for name, value in url.query.items()}
    return url.set(query=kept).render_as_string(hide_password=True)


def _parse(url: str) -> URL:
    parsed = parse_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise DatabaseError(f"no support for databases of type {parsed.drivername}", "Use sqlite or postgresql+psycopg")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise DatabaseError("a database in memory cannot be shared by threads", "Write sqlite:///FILE")
    return parsed


def _sqlite(url: URL, busy_seconds: float) -> Engine:
    if not str(url.database).startswith("file:"):  # SQLite's own URIs name existing files
        # Absolute: a process that is started for this one may work in another folder.
        path = Path(str(url.database)).expanduser().absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        url = url.set(database=str(path))
    engine = create_engine(url, connect_args={"timeout": busy_seconds}, **_TO_A_FILE)
    event.listen(engine, "connect", partial(_configure_sqlite, busy_seconds))
    return engine


def _postgresql(url: URL, busy_seconds: float) -> Engine:
    settings: dict[str, Any] = {}
    if "connect_timeout" not in url.query:
        settings["connect_timeout"] = 10
    if "options" not in url.query:
        settings["options"] = f"-c lock_timeout={int(busy_seconds * 1000)}"
    return create_engine(url, connect_args=settings, pool_pre_ping=True, **_TO_A_SERVER)


def _configure_sqlite(busy_seconds: float, connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's "begin" below opens transactions, not the driver
    _enter_wal(connection, time.monotonic() + busy_seconds)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={int(busy_seconds * 1000)}"):
        connection.execute(f"PRAGMA {pragma}")


def _enter_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Switch to write-ahead logging.

    SQLite does not wait by itself when two processes switch at once.
    """
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
