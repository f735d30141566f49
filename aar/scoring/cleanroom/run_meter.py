"""Books the core-seconds of a scoring run, from the method's start to its end.

They are booked however the run ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from anyio import CancelScope

from aar.budget.ledger import Ledger
from aar.store.database import Database


class Stopwatch:
    """Measures the seconds that a method ran: its latest attempt, and all."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.begun = False
        self._before = 0.0

    @property
    def total(self) -> float:
        """Return the seconds of all attempts together."""
        return self._before + self.seconds

    @contextmanager
    def time_attempt(self) -> Iterator[None]:
        """Time an attempt, also one that is cancelled or loses its sandbox."""
        self._before, self.seconds, self.begun = self.total, 0.0, True
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds = time.monotonic() - started


class RunMeter(Stopwatch):
    """Books each attempt of a run against a reservation of its own.

    Args:
        db, ledger: where it is booked.
        cpus: cores that are charged whether they are busy or not.
    """

    def __init__(self, db: Database, ledger: Ledger, cpus: float) -> None:
        super().__init__()
        self.request_id = ""
        self._db = db
        self._ledger = ledger
        self._cpus = cpus

    @property
    def core_seconds(self) -> float:
        """Return the core-seconds of the latest attempt."""
        return self.seconds * self._cpus

    def use_reservation(self, request_id: str) -> None:
        """Book the next attempt against this reservation."""
        self._before, self.seconds, self.begun = self.total, 0.0, False
        self.request_id = request_id

    async def close(self) -> None:
        """Settle the reservation, or release it if the method never started.

        A settled reservation stays settled.
        """
        with CancelScope(shield=True):
            if not self.begun:
                await self._ledger.release(self.request_id)
                return
            await self._db.write(
                lambda session: self._ledger.settle_compute_in(session, self.request_id, self.core_seconds)
            )
