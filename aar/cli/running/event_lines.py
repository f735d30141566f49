"""The plain view of ``aar start``: one line an event, for logs and pipes."""

from __future__ import annotations

import asyncio

from sqlalchemy.orm import Session

from aar.campaign.controller.controller import RunningCampaign
from aar.cli.campaign.events import event_line
from aar.errors import DatabaseError
from aar.store.event_log import LoggedEvent, read_events

_POLL_SECONDS = 0.5


async def plain_view(running: RunningCampaign) -> None:
    """Print events as they are logged, until cancelled.

    Prints the last ones after that, and none from before a resume.
    """
    db, campaign_id = running.database, running.campaign_id
    after = await db.read(lambda session: _beginning(session, campaign_id)) if running.resumed else 0

    def show(page: list[LoggedEvent]) -> None:
        nonlocal after
        for each in page:
            after = each.id
            print(event_line(each), flush=True)

    try:
        while True:
            try:
                while page := await db.read(lambda session: read_events(session, campaign_id, after=after)):
                    show(page)
            except DatabaseError:
                pass  # busy; nothing is skipped, the next poll starts from the same place
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        with db.reading() as session:
            while page := read_events(session, campaign_id, after=after):
                show(page)


def _beginning(session: Session, campaign_id: str) -> int:
    """Return the cursor just before this controller's own start."""
    return read_events(session, campaign_id, kinds=["campaign_started"])[-1].id - 1
