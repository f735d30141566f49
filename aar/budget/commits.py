"""Doing something in memory exactly when the rows behind it are committed."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

_KEY = "aar.budget.commits"


def when_committed(session: Session, then: Callable[[], None]) -> None:
    """Call ``then`` once, right after the session's outermost transaction commits; never when it rolls back.

    A savepoint around the caller that is rolled back drops it too. ``then`` runs in the committing thread, must be
    quick, and may not use the session.
    """
    if _KEY not in session.info:
        session.info[_KEY] = []
        event.listen(session, "after_commit", _committed)
        event.listen(session, "after_soft_rollback", _rolled_back)
    around = session.get_nested_transaction() or session.get_transaction() or session.begin()
    session.info[_KEY].append((around, then))


def _committed(session: Session) -> None:
    if session.in_nested_transaction():
        return
    waiting, session.info[_KEY] = session.info[_KEY], []
    for _, then in waiting:
        then()


def _rolled_back(session: Session, ended: SessionTransaction) -> None:
    session.info[_KEY] = [(around, then) for around, then in session.info[_KEY] if not _is_within(around, ended)]


def _is_within(transaction: SessionTransaction | None, ended: SessionTransaction) -> bool:
    while transaction is not None and transaction is not ended:
        transaction = transaction.parent
    return transaction is ended
