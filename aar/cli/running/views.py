"""The views of a campaign that runs: the live one, and the plain one for logs and pipes."""

from __future__ import annotations

import asyncio
import errno
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import anyio.to_thread
from rich.live import Live
from sqlalchemy.orm import Session

from aar.campaign.controller.controller import RunningCampaign
from aar.campaign.running_time import read_running_time
from aar.cli.campaign.events import event_line
from aar.cli.campaign.status import render_dashboard
from aar.cli.output.printing import make_console
from aar.cli.output.streams import detach_terminal
from aar.errors import DatabaseError
from aar.readmodels.campaign_overview import CampaignOverview, read_overview
from aar.store.event_log import LoggedEvent, read_events
from aar.text import clean_line

_REFRESH_SECONDS = 0.7
_HINT = "Ctrl-C pauses cleanly after the turns in progress; a second one stops at once and loses nothing"
_POLL_SECONDS = 0.5


async def live_view(running: RunningCampaign) -> None:
    """Draw the dashboard until cancelled, and once more with the final state."""
    db, campaign_id = running.database, running.campaign_id
    began = time.monotonic()
    before = await db.read(lambda session: read_running_time(session, campaign_id).seconds)
    out = make_console()

    def draw(overview: CampaignOverview, hint: str) -> None:
        seconds = before + time.monotonic() - began
        try:
            view.update(render_dashboard(overview, seconds=seconds, hint=hint, height=out.height), refresh=True)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            detach_terminal()  # it hung up; the signal may arrive later than this error

    # Without redirection: a view that ends with an error would leave its own stream in the place of standard output.
    picture = Live(
        console=out, auto_refresh=False, vertical_overflow="crop", redirect_stdout=False, redirect_stderr=False
    )
    with suppress_key_echo(), picture as view:
        try:
            while True:
                try:
                    overview = await db.read(lambda session: read_overview(session, campaign_id))
                except DatabaseError:
                    pass  # busy; the next redraw tries again
                else:
                    await anyio.to_thread.run_sync(draw, overview, _hint(running))
                await asyncio.sleep(_REFRESH_SECONDS)
        finally:
            with db.reading() as session:
                draw(read_overview(session, campaign_id), "")


def _hint(running: RunningCampaign) -> str:
    ending = running.stop.ending
    if ending is None:
        return _HINT
    if ending.state == "paused":
        return f"{clean_line(ending.cause)}: waiting for the turns in progress; Ctrl-C now stops at once"
    return f"{clean_line(ending.cause)}: waiting for turns in progress and scores; Ctrl-C now stops at once"


@contextmanager
def suppress_key_echo() -> Iterator[None]:
    """Stop the terminal from printing typed keys, such as ``^C``, into the view.

    The keys work as before.
    """
    if not sys.stdin.isatty():
        yield
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(terminal, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        with suppress(termios.error):  # it hung up
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


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
