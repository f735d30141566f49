"""What a researcher is doing now, in one line for people, as its newest event tells."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import update
from sqlalchemy.orm import Session

from aar.events import AnyEvent, ModelCalled, ToolStarted
from aar.store.models import Researcher

_LONGEST = 300


def note_doing(session: Session, researcher_id: str, events: Sequence[AnyEvent]) -> None:
    """Write it down in the transaction of the events; events that begin nothing leave it as it is."""
    lines = [line for event in events if (line := _line(event))]
    if lines:
        session.execute(update(Researcher).where(Researcher.id == researcher_id).values(doing=lines[-1][:_LONGEST]))


def _line(event: AnyEvent) -> str:
    match event:
        case ToolStarted(tool=tool, about=about):
            return about if about.startswith(tool) else f"{tool}: {about}"
        case ModelCalled():
            return "thinking"
        case _:
            return ""
