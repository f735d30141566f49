"""The database: one engine, one writer at a time, and sessions for services.

Services are plain functions over a ``Session``; async code runs them with ``await db.write(fn)`` or
``await db.read(fn)`` in a thread, so that nothing blocks the loop. On SQLite every write transaction starts with
BEGIN IMMEDIATE, so that two processes queue instead of failing half-way.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from aar.errors import DatabaseError

T = TypeVar("T")
_BUSY_SECONDS = 15


class Database:
    """A migrated database, open for services.

    Args:
        url: SQLAlchemy URL; ``sqlite:///FILE`` or ``postgresql+psycopg://...``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._writers = sessionmaker(self.engine.execution_options(aar_write=True), expire_on_commit=False)
        self._limiter: anyio.CapacityLimiter | None = None

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for reading; rolled back at the end. Raises DatabaseError."""
        with _friendly(self.url), self._sessions() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session in one transaction, committed at the end unless an exception leaves it. Raises DatabaseError."""
        with _friendly(self.url), self._writers.begin() as session:
            yield session

    async def read(self, fn: Callable[[Session], T]) -> T:
        """Run ``fn`` with a reading session in a thread. Raises what ``fn`` raises, and DatabaseError."""
        return await anyio.to_thread.run_sync(partial(self._call, self.reading, fn))

    async def write(self, fn: Callable[[Session], T]) -> T:
        """Run ``fn`` in one write transaction in a thread; writers of this process queue fairly.

        Once begun it runs to its end even when the caller is cancelled, so that a caller never has to guess.
        """
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(1 if self.is_sqlite else 8)
        return await anyio.to_thread.run_sync(partial(self._call, self.writing, fn), limiter=self._limiter)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @staticmethod
    def _call(opening: Callable[[], Any], fn: Callable[[Session], T]) -> T:
        with opening() as session:
            return fn(session)


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            Path(str(parsed.database)).expanduser().parent.mkdir(parents=True, exist_ok=True)
        if parsed.get_backend_name() == "sqlite":
            engine = create_engine(parsed, connect_args={"timeout": _BUSY_SECONDS})
            event.listen(engine, "connect", _configure_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        return create_engine(parsed, pool_pre_ping=True)
    except ArgumentError as error:
        raise DatabaseError(
            f"database URL is not one: {error}", "Write sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
        ) from error
    except NoSuchModuleError as error:
        raise DatabaseError(
            f"no database driver for {parsed.drivername}", "Use sqlite or postgresql+psycopg"
        ) from error
    except ModuleNotFoundError as error:
        raise DatabaseError(
            f"the database driver {error.name} is not installed", 'Install it with: pip install "aar[postgres]"'
        ) from error
    except OSError as error:
        raise DatabaseError(
            f"cannot make the database's folder: {error}", "Set AAR_HOME to a writable folder"
        ) from error


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's "begin" below opens transactions, not the driver
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        f"busy_timeout={_BUSY_SECONDS * 1000}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("aar_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _friendly(url: str) -> Iterator[None]:
    shown = make_url(url).render_as_string(hide_password=True)
    try:
        yield
    except OperationalError as error:
        text = str(error.orig)
        if "locked" in text or "busy" in text:
            raise DatabaseError(
                f"database {shown} is locked by another program",
                "Close the program that holds it (a database browser?) and try again",
            ) from error
        if "full" in text:
            raise DatabaseError(
                f"disk full: cannot write to {shown}", "Free some space, then run `aar resume`"
            ) from error
        raise DatabaseError(f"database {shown}: {text.strip()}", "Check the URL and that the server runs") from error
    except DBAPIError as error:
        if "file is not a database" in str(error.orig) or "malformed" in str(error.orig):
            raise DatabaseError(f"{shown} is not a readable database", "Restore it or choose another file") from error
        raise
