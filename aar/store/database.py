"""The database: one engine, sessions for services, one writer at a time.

SQLite is the reason for the one writer.

Services are plain functions over a ``Session``; async code runs them with ``await db.write(fn)`` or ``await
db.read(fn)`` in a thread, so that nothing blocks the loop. On SQLite every write transaction starts with BEGIN
IMMEDIATE, so that two processes queue instead of failing half-way.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Generic, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from aar.store.engine import display_url, make_engine
from aar.store.errors import is_retryable, translate_errors
from aar.store.session_cache import CACHE_KEY, WRITING_KEY, SessionCache

T = TypeVar("T")
BUSY_SECONDS = 15.0
_ATTEMPTS = 6
_BACKOFF_SECONDS = 0.01
_POLL_SECONDS = 0.002


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
        kept = SessionCache()
        # A reader sees one moment, however many statements it takes; a file gives that by itself.
        reads = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")
        self._sessions = sessionmaker(reads, expire_on_commit=False, info={CACHE_KEY: kept})
        writes = self.engine.execution_options(aar_write=True)
        self._writers = sessionmaker(writes, expire_on_commit=False, info={CACHE_KEY: kept, WRITING_KEY: True})
        self._limiter: anyio.CapacityLimiter | None = None
        self._listeners: tuple[Callable[[], None], ...] = ()

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``heard`` after each write, in the writing thread; returns its unsubscriber.

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
        for attempt in range(_ATTEMPTS - 1):
            try:
                with self._writers.begin() as session:
                    return fn(session)
            except DBAPIError as error:
                if not is_retryable(error):
                    raise
                # Two transactions that rolled each other back must not retry at the same moment.
                time.sleep(random.uniform(0, _BACKOFF_SECONDS * 2**attempt))  # noqa: S311 - no secret hangs on it
        with self._writers.begin() as session:
            return fn(session)

    def _notify(self) -> None:
        for heard in self._listeners:
            heard()


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
