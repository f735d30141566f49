"""A researcher's conversation, read back from the event log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.events import AnyEvent, ContextReset, MessageAdded, ModelCallFailed, ToolFinished, TurnReceived, parse_event
from aar.forum.text import clean_text
from aar.store.models import EventRecord

_KINDS = ("message_added", "context_reset", "turn_received", "tool_finished", "model_call_failed")


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of an entry.

    Args:
        type: text, thinking, tool_use, tool_result, other.
        title: a tool's name; empty otherwise.
        text: free of control characters.
    """

    type: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class TranscriptItem:
    """One entry: ``who`` is researcher, tool or controller; ``note`` says why or at what cost."""

    event_id: int
    at: datetime
    who: str
    note: str
    blocks: tuple[Block, ...]
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Transcript:
    """Entries in order; ``earlier`` is the ``before`` of the page that came before, None at the beginning."""

    items: list[TranscriptItem]
    earlier: int | None


def read_transcript(session: Session, researcher_id: str, *, before: int | None = None, limit: int = 50) -> Transcript:
    """The newest entries, or those right before the event ``before``; at most ``limit``."""
    query = select(EventRecord).where(EventRecord.researcher_id == researcher_id, EventRecord.kind.in_(_KINDS))
    if before is not None:
        query = query.where(EventRecord.id < before)
    records = list(session.scalars(query.order_by(EventRecord.id.desc()).limit(limit + 1)))
    shown = records[:limit][::-1]
    items = [_item(record.id, record.at, parse_event(record.payload)) for record in shown]
    return Transcript(items, shown[0].id if len(records) > limit else None)


def _item(event_id: int, at: datetime, event: AnyEvent) -> TranscriptItem:
    match event:
        case TurnReceived():
            blocks = tuple(_block(raw) for raw in event.content)
            return TranscriptItem(event_id, at, "researcher", f"{event.output_tokens} tokens out, ${event.usd}", blocks)
        case ToolFinished():
            blocks = tuple(_result(event.tool, raw) for raw in event.content)
            note = f"{event.tool}, {event.seconds:.1f} s"
            return TranscriptItem(event_id, at, "tool", note, blocks, event.is_error)
        case MessageAdded() | ContextReset():
            return TranscriptItem(event_id, at, "controller", event.reason, tuple(_block(raw) for raw in event.content))
        case ModelCallFailed():
            block = Block("text", "", clean_text(event.error))
            return TranscriptItem(event_id, at, "controller", "model call failed", (block,), True)
        case _:
            raise AssertionError(f"{event.kind} is no part of a conversation")


def _block(raw: dict[str, Any]) -> Block:
    match raw.get("type"):
        case "text":
            return Block("text", "", clean_text(str(raw.get("text", ""))))
        case "thinking":
            return Block("thinking", "", clean_text(str(raw.get("thinking", ""))))
        case "tool_use":
            return Block("tool_use", clean_text(str(raw.get("name", ""))), _arguments(raw.get("input")))
        case other:
            return Block("other", clean_text(str(other)), "")


def _result(tool: str, raw: dict[str, Any]) -> Block:
    if raw.get("type") == "text":
        return Block("tool_result", tool, clean_text(str(raw.get("text", ""))))
    return Block("other", clean_text(str(raw.get("type"))), "")


def _arguments(value: Any) -> str:
    """A tool's input as people read it: strings as they are, one below the other; anything else as JSON."""
    if not isinstance(value, dict):
        return clean_text(json.dumps(value, ensure_ascii=False))
    if list(value) == ["command"] and isinstance(value["command"], str):
        return clean_text(value["command"])
    lines = []
    for key, each in value.items():
        text = each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)
        lines.append(f"{key}:\n{text}" if "\n" in text else f"{key}: {text}")
    return clean_text("\n".join(lines))
