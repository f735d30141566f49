"""A researcher's current activity and state, in one line, from its newest event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Table, bindparam
from sqlalchemy.orm import Session

from aar.events import AnyEvent, BlockBegun, ModelCalled, ToolStarted
from aar.llm.wait_notice import is_waiting
from aar.store.models import Researcher

_LONGEST = 300
_TABLE = cast(Table, Researcher.__table__)
_UPDATE = _TABLE.update().where(_TABLE.c.id == bindparam("who"))


def update_activity(session: Session, researcher_id: str, events: Sequence[AnyEvent]) -> None:
    """Update the activity in the transaction of the events.

    Events that begin nothing leave it unchanged.
    """
    begun = [(line, _state(event)) for event in events if (line := _line(event))]
    if begun:
        doing, state = begun[-1]
        # A model may write characters that no database stores as text.
        kept = doing[:_LONGEST].replace("\0", "").encode("utf-8", "replace").decode()
        row = {"who": researcher_id, "doing": kept, "state": state}
        session.connection().execute(_UPDATE, row)


def _state(event: AnyEvent) -> str:
    match event:
        case ToolStarted(tool="wait"):
            return "waiting"
        case BlockBegun(doing=doing) if is_waiting(doing):
            return "waiting"
        case _:
            return "running"


def _line(event: AnyEvent) -> str:
    match event:
        case ToolStarted(tool=tool, about=about):
            return about if about.startswith(tool) else f"{tool}: {about}"
        case ModelCalled():
            return "thinking"
        case BlockBegun(doing=doing):
            return doing
        case _:
            return ""
