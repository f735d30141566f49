"""The database: sessions for services, one writer at a time, errors that a person can act on.

SQLite is the reason for the one writer.

Services are plain functions over a ``Session``; async code runs them with ``await db.write(fn)`` or ``await
db.read(fn)`` in a thread, so that nothing blocks the loop. On SQLite every write transaction starts with BEGIN
IMMEDIATE, so that two processes queue instead of failing half-way.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Generic, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, SessionTransaction, sessionmaker

from aar.errors import DatabaseError
from aar.redaction import redact
from aar.store.engine import BUSY_SECONDS, display_url, make_engine

T = TypeVar("T")
_ATTEMPTS = 6
_BACKOFF_SECONDS = 0.01
_POLL_SECONDS = 0.002
_OUT_OF_ORDER = {"25006", "25P03", "25P04"}
"""PostgreSQL, as errors of another kind than the rest: it is read-only for a while (a change of servers, a full disk),
or it ended a transaction that took too long."""
_RETRYABLE = {"40P01", "40001"}  # PostgreSQL: deadlock detected, serialization failure
_KNOWN: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("is locked", "is busy", "lock timeout"),
        "database {shown} is locked by another program",
        "Close the program that holds it (a database browser?) and try again",
    ),
    (("is full", "no space left"), "disk full: cannot write to {shown}", "Free some space, then run `aar resume`"),
    (
        ("readonly", "read-only"),
        "database {shown} is read-only",
        "Make it writable: the file and its folder, or the server; or set AAR_HOME to a writable folder",
    ),
    (
        ("not a database", "malformed"),
        "{shown} is not a readable database",
        "Restore it from a copy or choose another file",
    ),
    (
        ("unable to open database file",),
        "cannot open the database file of {shown}",
        "Check that the path is a file in a folder you may write to",
    ),
    (("deadlock",), "database {shown}: two writers blocked each other", "Try again"),
    (
        ("does not exist",),
        "database {shown}: {text}",
        "Create it (createdb NAME, createuser NAME), or correct the URL",
    ),
    (
        ("password", "authentication"),
        "database {shown} refused the login: {text}",
        "Check the user and password in the URL",
    ),
)
_MOST_CACHED = 256


class Database:
    """A migrated database, open for services; made by ``aar.store.open_database``.

    Args:
        url: SQLAlchemy URL; ``sqlite:///FILE`` or ``postgresql+psycopg://...``.
        busy_seconds: how long to wait for a lock of another process.
    """

    def __init__(self, url: str, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self.engine = make_engine(url, busy_seconds)
        self.shown = display_url(self.engine.url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self.url = str(self.engine.url) if self.is_sqlite else url
        if self.is_sqlite:
            event.listen(self.engine, "begin", _begin_sqlite)
        cache = SessionCache()
        # A reader sees one moment, however many statements it takes; a file gives that by itself.
        reads = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")
        self._sessions = sessionmaker(reads, class_=DatabaseSession, expire_on_commit=False, cache=cache)
        writes = self.engine.execution_options(aar_write=True)
        self._writers = sessionmaker(writes, class_=DatabaseSession, expire_on_commit=False, cache=cache, writes=True)
        self._limiter: anyio.CapacityLimiter | None = None
        self._listeners: tuple[Callable[[], None], ...] = ()

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` after each write, in the writing thread; returns its unsubscriber.

        A hint only: writes of other processes to the same database cause no call.
        """
        self._listeners = (*self._listeners, callback)

        def end() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not callback)

        return end

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session for reading; rolled back at the end. Raises DatabaseError."""
        with translate_errors(self.shown), self._sessions() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session in one transaction, committed at the end. Raises DatabaseError.

        An exception that leaves it rolls it back.
        """
        with translate_errors(self.shown), self._writers.begin() as session:
            yield session
        self._notify()

    async def read(self, fn: Callable[[Session], T]) -> T:
        """Run ``fn`` with a reading session in a thread.

        Raises any error of ``fn``, and DatabaseError.
        """
        return await anyio.to_thread.run_sync(partial(self._read, fn))

    async def write(self, fn: Callable[[Session], T]) -> T:
        """Run ``fn`` in one write transaction in a thread; writers queue fairly.

        The queue is that of this process.

        Once begun it runs to its end even when the caller is cancelled, so that a caller always knows the result.
        ``fn`` may run again when PostgreSQL rolled it back for a deadlock, so it must touch nothing but its session.
        """
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(1 if self.is_sqlite else 8)
        work = _Work(partial(self.write_now, fn))
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await work.over()  # a task that asyncio itself cancels leaves its thread behind
            raise

    def write_now(self, fn: Callable[[Session], T]) -> T:
        """Run ``write`` for code that is not async.

        Raises any error of ``fn``, and DatabaseError.
        """
        with translate_errors(self.shown):
            done = self._attempt(fn)
        self._notify()
        return done

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _read(self, fn: Callable[[Session], T]) -> T:
        with self.reading() as session:
            return fn(session)

    def _attempt(self, fn: Callable[[Session], T]) -> T:
        attempt = 0
        while True:
            try:
                with self._writers.begin() as session:
                    return fn(session)
            except DBAPIError as error:
                attempt += 1
                if attempt == _ATTEMPTS or not is_retryable(error):
                    raise
            # Two transactions that rolled each other back must not retry at the same moment.
            time.sleep(random.uniform(0, _BACKOFF_SECONDS * 2**attempt))  # noqa: S311 - no secret hangs on it

    def _notify(self) -> None:
        for callback in self._listeners:
            callback()


class SessionCache:
    """Caches results that readers computed from rows that never change again; thread-safe.

    A log or a ledger only grows, so a sum up to a cursor stays true. The least used value goes first. Values must not
    be changed.
    """

    def __init__(self) -> None:
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:
        """Return the value, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        """Store a value in place of the one before."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > _MOST_CACHED:
                self._values.popitem(last=False)


class DatabaseSession(Session):
    """A session of a ``Database``, with its cache and what to call after its commit."""

    def __init__(self, *args: Any, cache: SessionCache, writes: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self.cache = cache
        self.writes = writes
        self.after_commit: list[tuple[SessionTransaction, Callable[[], None]]] = []


def get_cached(session: Session, key: Hashable) -> Any:
    """Return a value cached for this session's database; None if there is none."""
    return session.cache.get(key) if isinstance(session, DatabaseSession) else None


def put_cached(session: Session, key: Hashable, value: Any) -> None:
    """Cache a value for later sessions; does nothing in one that may write, since that may be rolled back."""
    if isinstance(session, DatabaseSession) and not session.writes:
        session.cache.put(key, value)


def on_commit(session: Session, then: Callable[[], None]) -> None:
    """Call ``then`` once, right after the outermost transaction commits.

    It is never called if the transaction rolls back.

    A savepoint around the caller that is rolled back drops it too. ``then`` runs in the committing thread, must be
    quick, and may not use the session.

    Args:
        session: of a ``Database``.
    """
    assert isinstance(session, DatabaseSession)
    around = session.get_nested_transaction() or session.get_transaction() or session.begin()
    session.after_commit.append((around, then))


# Listeners of the class: one listener a session costs more than the transaction itself.
@event.listens_for(DatabaseSession, "after_commit")
def _committed(session: DatabaseSession) -> None:
    if not session.in_nested_transaction():
        callbacks, session.after_commit = session.after_commit, []
        for _, then in callbacks:
            then()


@event.listens_for(DatabaseSession, "after_soft_rollback")
def _rolled_back(session: DatabaseSession, ended: SessionTransaction) -> None:
    session.after_commit = [each for each in session.after_commit if not _is_within(each[0], ended)]


def _is_within(transaction: SessionTransaction | None, ended: SessionTransaction) -> bool:
    while transaction is not None and transaction is not ended:
        transaction = transaction.parent
    return transaction is ended


class _Work(Generic[T]):
    """Work in a thread that can be waited for even after cancellation."""

    def __init__(self, fn: Callable[[], T]) -> None:
        self._fn = fn
        self._lock = threading.Lock()
        self._begun = self._given_up = self._ended = False

    def __call__(self) -> T:
        with self._lock:
            if self._given_up:
                raise RuntimeError("the caller no longer waits for this work")
            self._begun = True
        try:
            return self._fn()
        finally:
            self._ended = True

    async def over(self) -> None:
        """Prevent its beginning, or wait for its end."""
        with self._lock:
            self._given_up = True
        while self._begun and not self._ended:
            with suppress(anyio.get_cancelled_exc_class()):
                await anyio.sleep(_POLL_SECONDS)


def _begin_sqlite(connection: Any) -> None:
    begin = "BEGIN IMMEDIATE" if connection.get_execution_options().get("aar_write", False) else "BEGIN"
    try:  # by the driver: this is done for every transaction, and SQLAlchemy's own way takes ten times as long
        connection.connection.driver_connection.execute(begin)
    except sqlite3.OperationalError as error:
        raise OperationalError(begin, None, error) from error


def is_retryable(error: DBAPIError) -> bool:
    """Return True if a transaction was rolled back only because of another one.

    It may then be run again.
    """
    return getattr(error.orig, "sqlstate", None) in _RETRYABLE


def is_database_fault(error: DBAPIError) -> bool:
    """Return True if the database is at fault, not the statement or row."""
    text = str(error.orig)
    if type(error).__name__ == "OperationalError" or getattr(error.orig, "sqlstate", None) in _OUT_OF_ORDER:
        return True
    return "not a database" in text or "malformed" in text


@contextmanager
def translate_errors(shown: str) -> Iterator[None]:
    """Raise DatabaseError for errors of the database, not of the caller.

    Args:
        shown: the database's URL without its password.

    Raises:
        DatabaseError: locked, full, read-only, damaged or unreachable.
    """
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseError(f"database {shown}: all connections are in use", "Try again in a moment") from error
    except DBAPIError as error:
        if not is_database_fault(error):
            raise
        text = redact(" ".join(str(error.orig).split()))
        for signs, message, remedy in _KNOWN:
            if any(sign in text.lower() for sign in signs):
                raise DatabaseError(message.format(shown=shown, text=text), remedy) from error
        raise DatabaseError(
            f"cannot use the database {shown}: {text}", "Check the URL and that the server runs"
        ) from error
