"""Meters a sandbox's cores: core-seconds are reserved before they are used, minute by minute."""

from __future__ import annotations

import asyncio
import time
import uuid

from sqlalchemy.orm import Session

from aar.budget.ledger import Ledger
from aar.concurrency import best_effort, log_failure
from aar.store.database import Database

_SLICE_SECONDS = 60.0


async def meter_compute(ledger: Ledger, database: Database, researcher_id: str, cpus: float) -> None:
    """Reserve and settle core-seconds, one slice after another, until cancelled.

    Args:
        cpus: cores that the sandbox may use; they are charged whether they are busy or not.

    Raises:
        LimitReached: the next slice does not fit a limit.
    """
    while True:
        request_id = f"compute-{uuid.uuid4().hex}"
        await ledger.reserve_compute(
            request_id=request_id, researcher_id=researcher_id, kind="compute", core_seconds=_SLICE_SECONDS * cpus
        )
        started = time.monotonic()
        try:
            await asyncio.sleep(_SLICE_SECONDS)
        finally:
            used = min(time.monotonic() - started, _SLICE_SECONDS) * cpus

            def settle(session: Session, request_id: str = request_id, used: float = used) -> None:
                ledger.settle_compute_in(session, request_id, used)

            # An unsettled slice is charged completely: see Ledger.write_off.
            await best_effort(database.write(settle), log_failure("could not record the use of a sandbox"))
