"""Sends the controller's heartbeat from a thread of its own.

Neither a slow start nor a busy loop stops that thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.orm import Session

from aar.campaign.control import controller_lock
from aar.store.database import Database

log = structlog.get_logger(__name__)

_HEARTBEAT_SECONDS = 3.0
_STOP_SECONDS = 30.0


class Heartbeat:
    """Sends a heartbeat every few seconds between ``start`` and ``stop``.

    Args:
        database: where the campaign is.
        campaign_id: a campaign that this process holds.
        seconds: between two heartbeats.
    """

    def __init__(self, database: Database, campaign_id: str, *, seconds: float = _HEARTBEAT_SECONDS) -> None:
        self._database = database
        self._campaign_id = campaign_id
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat {campaign_id}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wait a bounded time for a heartbeat in progress."""
        self._over.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            try:
                held = self._database.write_now(
                    lambda session: controller_lock.renew_heartbeat(session, self._campaign_id)
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, the next heartbeat may succeed
                log.warning("could not send a heartbeat", campaign=self._campaign_id, error=str(error))
                continue
            if not held:
                return


@contextmanager
def hold_campaign(database: Database, campaign_id: str) -> Iterator[None]:
    """Hold a campaign during slow preparation, and release it unless it was run meanwhile.

    Raises:
        Conflict: another controller holds it, or it is over.
    """
    database.write_now(lambda session: _reserve(session, campaign_id))
    heartbeat = Heartbeat(database, campaign_id)
    heartbeat.start()
    try:
        yield
    finally:
        heartbeat.stop()
        try:
            database.write_now(lambda session: controller_lock.cancel_reservation(session, campaign_id))
        except Exception as error:  # noqa: BLE001 - this process ends, and a dead process holds nothing
            log.warning("could not release the campaign", campaign=campaign_id, error=str(error))


def _reserve(session: Session, campaign_id: str) -> None:
    controller_lock.reserve_campaign(session, campaign_id)
