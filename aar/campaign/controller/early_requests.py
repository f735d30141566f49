"""Applies pause and stop requests that arrive during preparation, at the first possible moment."""

from __future__ import annotations

import asyncio

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.campaign.control.controller_lock import take_requests
from aar.campaign.controller.control_loop import TICK_SECONDS, apply_stop_request
from aar.campaign.lifecycle.ending import StopSignal
from aar.store.database import Database
from aar.store.models import Control, Submission

_COMMANDS = ("pause", "stop")


async def wait_for_early_stop(database: Database, campaign_id: str, stop: StopSignal) -> None:
    """Return once the campaign is to end before it is ready.

    Cancel this when it is ready.

    A stop with unscored submissions is only noted: they are scored first, which needs a complete preparation.
    """
    noted = False
    while stop.ending is None or noted:
        if await database.read(lambda session: _pending(session, campaign_id)):
            for request in await database.write(lambda session: take_requests(session, campaign_id, _COMMANDS)):
                apply_stop_request(request, stop)
        if stop.ending is not None:
            noted = await database.read(lambda session: _has_submissions(session, campaign_id))
            if stop.ending.state == "paused" or not noted:
                return
        await asyncio.sleep(TICK_SECONDS)


def _pending(session: Session, campaign_id: str) -> bool:
    query = select(Control.id).where(
        Control.campaign_id == campaign_id, Control.handled_at.is_(None), Control.command.in_(_COMMANDS)
    )
    return session.scalar(query.limit(1)) is not None


def _has_submissions(session: Session, campaign_id: str) -> bool:
    query = select(func.count()).select_from(Submission).where(Submission.campaign_id == campaign_id)
    return bool(session.scalar(query))
