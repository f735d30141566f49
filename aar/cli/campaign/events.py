"""``aar events``: the event log as lines, with ``--follow`` as it grows."""

from __future__ import annotations

import json as json_library
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from aar.campaign.views import get_researcher
from aar.cli.context import LATEST, CampaignId, CliContext, open_context
from aar.cli.options import MAX_INTEGER, MOST_ROWS, DatabaseOption, JsonFlag
from aar.cli.output.printing import to_json_value
from aar.readmodels.formatting import format_clock, format_datetime
from aar.store.event_log import LoggedEvent, read_events
from aar.text import clean_line, shorten

_PAGE = 500
_POLL_SECONDS = 0.5


def events(
    campaign: CampaignId = LATEST,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new events until the campaign ends.")] = False,
    last: Annotated[
        int, typer.Option("--last", "-n", min=0, max=MOST_ROWS, help="Number of latest events; 0 for all.")
    ] = 50,
    after: Annotated[
        int, typer.Option("--after", metavar="CURSOR", min=0, max=MAX_INTEGER, help="Only events past this id.")
    ] = 0,
    researcher: Annotated[str | None, typer.Option("--researcher", "-r", help="Only this one's, such as r2.")] = None,
    kind: Annotated[list[str] | None, typer.Option("--kind", "-k", help="Only this kind; may be repeated.")] = None,
    json: JsonFlag = False,
    database: DatabaseOption = None,
) -> None:
    """Print the event log, or follow it.

    One line an event; with --json one JSON object a line, whose id is the cursor for --after.
    """
    line = event_json if json else event_line
    with open_context(database) as context:
        view = context.campaign(campaign)
        with context.database.reading() as session:
            by = None if researcher is None else get_researcher(session, view.id, researcher).id

        def pages(cursor: int) -> Iterator[list[LoggedEvent]]:
            return _pages(context, view.id, cursor, by, kind or [])

        latest: deque[LoggedEvent] = deque(maxlen=last or None)
        for page in pages(after):
            latest.extend(page)
            after = page[-1].id
        for each in latest:
            print(line(each))
        if follow:
            _follow(context, view.id, pages, after, line)


def _pages(
    context: CliContext, campaign_id: str, after: int, researcher_id: str | None, kinds: list[str]
) -> Iterator[list[LoggedEvent]]:
    while True:
        with context.database.reading() as session:
            page = read_events(session, campaign_id, after=after, limit=_PAGE, researcher_id=researcher_id, kinds=kinds)
        if not page:
            return
        yield page
        after = page[-1].id


def _follow(
    context: CliContext,
    campaign_id: str,
    pages: Callable[[int], Iterator[list[LoggedEvent]]],
    after: int,
    line: Callable[[LoggedEvent], str],
) -> None:
    lost = False
    while True:
        view = context.campaign(campaign_id)
        over = view.state in ("finished", "failed")
        if view.controller == "lost" and not lost:
            print(f"{campaign_id} is {view.state_text(format_datetime)}", file=sys.stderr, flush=True)
        lost = view.controller == "lost"
        for page in pages(after):
            for each in page:
                print(line(each), flush=True)
            after = page[-1].id
        if over:
            return
        time.sleep(_POLL_SECONDS)


def event_line(logged: LoggedEvent) -> str:
    """Format an event for people: local time, researcher, summary."""
    who = logged.researcher_id.rpartition("-")[2] if logged.researcher_id else "--"
    return f"{format_clock(logged.at)} {who:>4} {shorten(logged.event.summary(), 400)}"


def event_json(logged: LoggedEvent) -> str:
    """Format an event for programs, on one line; ``id`` is the cursor."""
    payload = logged.event.model_dump(mode="json", exclude={"kind"})
    return json_library.dumps(
        {
            "id": logged.id,
            "campaign_id": logged.campaign_id,
            "researcher_id": logged.researcher_id,
            "at": to_json_value(logged.at),
            "kind": logged.event.kind,
            "line": clean_line(logged.event.summary()),
            "payload": payload,
        }
    )
