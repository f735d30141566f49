"""``aar transcript``: one researcher's conversation as text, JSON lines or an Inspect log."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from aar.campaign.views import get_researcher
from aar.cli.context import LATEST, CampaignOption, open_context
from aar.cli.options import DatabaseOption
from aar.cli.output.printing import make_console, to_json_value
from aar.readmodels.formatting import format_clock
from aar.readmodels.transcript import TranscriptItem, transcript_item, whole_transcript
from aar.report.inspect_export import write_inspect_log
from aar.store.event_log import LoggedEvent
from aar.text import clean_line

_STYLES = {"researcher": "bold cyan", "tool": "green", "controller": "bold yellow"}


def transcript(
    researcher: Annotated[str, typer.Argument(metavar="RESEARCHER", help="Such as r2.")],
    campaign: CampaignOption = LATEST,
    jsonl: Annotated[bool, typer.Option("--jsonl", "--json", help="One JSON object an event, for programs.")] = False,
    inspect: Annotated[
        Path | None,
        typer.Option("--inspect", metavar="FILE", help="Write an Inspect log, .eval or .json, for `inspect view`."),
    ] = None,
    database: DatabaseOption = None,
) -> None:
    """Print a researcher's messages, thoughts and tool calls.

    Complete and in order, with secrets removed. On a terminal it is shown page by page.
    """
    with open_context(database) as context:
        view = context.campaign(campaign)
        with context.database.reading() as session:
            who = get_researcher(session, view.id, researcher)
            if inspect is not None:
                print(write_inspect_log(session, who.id, inspect.expanduser()))
            elif jsonl:
                for each in whole_transcript(session, who.id):
                    print(transcript_json(each))
            else:
                _page(whole_transcript(session, who.id), who.name)


def transcript_json(logged: LoggedEvent) -> str:
    """Format an event of a transcript as one line of ASCII JSON."""
    payload = logged.event.model_dump(mode="json", exclude={"kind"})
    return json.dumps({"id": logged.id, "at": to_json_value(logged.at), "kind": logged.event.kind, **payload})


def _page(events: Iterator[LoggedEvent], name: str) -> None:
    out, empty = make_console(), True
    os.environ.setdefault("LESS", "-R")  # the usual pager then shows colours instead of their codes
    with out.pager(styles=True) if sys.stdout.isatty() else out:
        for each in events:
            empty = False
            out.print(_item_text(transcript_item(each), name), soft_wrap=True)
        if empty:
            out.print(f"{name} has no messages yet.")


def _item_text(item: TranscriptItem, name: str) -> Text:
    speaker = name if item.who == "researcher" else item.who
    style = "bold red" if item.is_error else _STYLES.get(item.who, "")
    text = Text.assemble((f"── {format_clock(item.at)} {speaker}", style), (f"  {clean_line(item.note)}\n", "dim"))
    for block in item.blocks:
        if block.type == "thinking":
            text.append(f"(thinking) {block.text}\n", "italic dim")
        elif block.type == "tool_use":
            text.append(f"→ {block.title}\n", "magenta").append(f"{block.text}\n")
        else:
            text.append(f"{block.text or '[' + block.title + ']'}\n")
    return text
