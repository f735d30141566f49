"""Translates a driver's exceptions into one line that a person can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from aar.errors import DatabaseError
from aar.redaction import redact

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
