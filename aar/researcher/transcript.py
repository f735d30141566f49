"""A researcher's transcript: everything it was told, said, did and got back, in order, from the log alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy.orm import Session

from aar.events import ContextReset, MessageAdded, ModelCallFailed, ToolFinished, TurnReceived
from aar.store.event_log import LoggedEvent, read

KINDS = ("message_added", "turn_received", "tool_finished", "context_reset", "model_call_failed")
Speaker = Literal["house", "researcher", "tool"]
EntryKind = Literal["text", "thinking", "call", "result", "failure", "reset"]


@dataclass(frozen=True, slots=True)
class TranscriptEntry:
    """One thing in a transcript. Its text is untrusted: sanitise it before showing.

    Args:
        event_id: of the log event it comes from; a cursor. Several entries may come from one turn.
        at: when it was logged.
        speaker: who said it.
        kind: what it is.
        title: the tool's name, why a message was added, or a turn's stop reason; may be empty.
        text: the words; for a call its input as JSON.
        is_error: whether a result was an error.
        tool_use_id: what joins a call and its result; empty otherwise.
        usd: dollars of the turn, on its first entry only.
    """

    event_id: int
    at: datetime
    speaker: Speaker
    kind: EntryKind
    title: str
    text: str
    is_error: bool = False
    tool_use_id: str = ""
    usd: Decimal | None = None


def transcript(
    session: Session, campaign_id: str, researcher_id: str, *, after: int = 0, limit: int = 200
) -> list[TranscriptEntry]:
    """Entries of at most ``limit`` events after the cursor ``after``, oldest first."""
    logged = read(session, campaign_id, after=after, limit=limit, researcher_id=researcher_id, kinds=KINDS)
    return [entry for each in logged for entry in entries_of(each)]


def entries_of(logged: LoggedEvent) -> list[TranscriptEntry]:
    """What one event adds to the transcript; empty for kinds that add nothing."""
    event = logged.event
    if isinstance(event, MessageAdded):
        return [_entry(logged, "house", "text", event.reason, texts(event.content))]
    if isinstance(event, ContextReset):
        return [_entry(logged, "house", "reset", event.reason, texts(event.content))]
    if isinstance(event, ModelCallFailed):
        return [_entry(logged, "house", "failure", "model call failed", event.error, is_error=True)]
    if isinstance(event, ToolFinished):
        told = texts(event.content)
        return [
            _entry(logged, "tool", "result", event.tool, told, is_error=event.is_error, tool_use_id=event.tool_use_id)
        ]
    return list(_turn(logged, event)) if isinstance(event, TurnReceived) else []


def texts(content: Sequence[Mapping[str, Any]]) -> str:
    """The text of content blocks; other kinds are named in brackets."""
    return "\n\n".join(str(block["text"]) if "text" in block else f"[{block.get('type')}]" for block in content)


def _turn(logged: LoggedEvent, event: TurnReceived) -> Iterator[TranscriptEntry]:
    usd: Decimal | None = event.usd
    for block in event.content or [{"type": "text", "text": f"({event.stop_reason})"}]:
        kind = block.get("type")
        if kind == "tool_use":
            given = json.dumps(block.get("input"), ensure_ascii=False, indent=1)
            called, name = str(block.get("id", "")), str(block.get("name", ""))
            yield _entry(logged, "researcher", "call", name, given, tool_use_id=called, usd=usd)
        elif kind == "thinking":
            yield _entry(logged, "researcher", "thinking", "", str(block.get("thinking", "")), usd=usd)
        else:
            yield _entry(logged, "researcher", "text", event.stop_reason, texts([block]), usd=usd)
        usd = None


def _entry(
    logged: LoggedEvent,
    speaker: Speaker,
    kind: EntryKind,
    title: str,
    text: str,
    *,
    is_error: bool = False,
    tool_use_id: str = "",
    usd: Decimal | None = None,
) -> TranscriptEntry:
    return TranscriptEntry(logged.id, logged.at, speaker, kind, title, text, is_error, tool_use_id, usd)
