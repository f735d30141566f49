"""Runs a callback in memory exactly when the rows behind it are committed."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

_KEY = "aar.store.on_commit"


def on_commit(session: Session, then: Callable[[], None]) -> None:
    """Call ``then`` once, right after the outermost transaction commits.

    It is never called if the transaction rolls back.

    A savepoint around the caller that is rolled back drops it too. ``then`` runs in the committing thread, must be
    quick, and may not use the session.
    """
    around = session.get_nested_transaction() or session.get_transaction() or session.begin()
    session.info.setdefault(_KEY, []).append((around, then))


# Listeners of all sessions: one listener a session costs more than the transaction itself.
@event.listens_for(Session, "after_commit")
def _committed(session: Session) -> None:
    if _KEY not in session.info or session.in_nested_transaction():
        return
    for _, then in session.info.pop(_KEY):
        then()


@event.listens_for(Session, "after_soft_rollback")
def _rolled_back(session: Session, ended: SessionTransaction) -> None:
    if waiting := session.info.get(_KEY):
        session.info[_KEY] = [(around, then) for around, then in waiting if not _is_within(around, ended)]


def _is_within(transaction: SessionTransaction | None, ended: SessionTransaction) -> bool:
    while transaction is not None and transaction is not ended:
        transaction = transaction.parent
    return transaction is ended
