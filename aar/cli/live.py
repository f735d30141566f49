"""The live view of ``aar start``: the dashboard, redrawn from the database beside the campaign."""

from __future__ import annotations

import asyncio
import time

import anyio.to_thread
from rich.live import Live

from aar.campaign.clock import seconds_run
from aar.campaign.controller import Running
from aar.cli.dashboard import dashboard
from aar.cli.output import console
from aar.cli.overview import Overview, overview
from aar.errors import DatabaseError

_REFRESH_SECONDS = 0.7
_HINT = "Ctrl-C pauses cleanly after the turns in progress; a second one stops at once and loses nothing"


async def live_view(running: Running) -> None:
    """Draw until cancelled, and once more then, so that what stays on the screen is how it ended."""
    db, campaign_id = running.database, running.campaign_id
    began = time.monotonic()
    before = await db.read(lambda session: seconds_run(session, campaign_id))
    out = console()

    def draw(found: Overview, hint: str) -> None:
        seconds = before + time.monotonic() - began
        view.update(dashboard(found, seconds=seconds, hint=hint, height=out.height), refresh=True)

    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as view:
        try:
            while True:
                try:
                    found = await db.read(lambda session: overview(session, campaign_id))
                except DatabaseError:
                    pass  # busy for longer than is worth waiting for a picture; the next one comes
                else:
                    await anyio.to_thread.run_sync(draw, found, _HINT)
                await asyncio.sleep(_REFRESH_SECONDS)
        finally:
            with db.reading() as session:
                draw(overview(session, campaign_id), "")
