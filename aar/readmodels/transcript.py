"""The transcript of a researcher: messages, thoughts, tool calls, and background jobs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from aar.events import (
    AnyEvent,
    ContextReset,
    MessageAdded,
    ModelCallFailed,
    ResearcherStateChanged,
    SandboxLost,
    ToolFinished,
    TurnReceived,
    parse_event,
)
from aar.readmodels.secret_scrubber import Scrubber, make_scrubber
from aar.store.database import get_cached, put_cached
from aar.store.event_log import LoggedEvent, read_events
from aar.store.models import EventRecord, Researcher
from aar.text import clean_line, clean_text

KINDS = (
    "message_added",
    "context_reset",
    "turn_received",
    "tool_finished",
    "model_call_failed",
    "sandbox_lost",
    "researcher_state_changed",
)
"""Kinds of event in a transcript."""
_PAGE = 500
_TOOLS = ("start_job", "wait", "job_output", "stop_job")
_TOLD = re.compile(r"^Job (\S{1,64}) ([^\n]+)\.$", re.MULTILINE)
_LOOKED_AT = 600


@dataclass(frozen=True, slots=True)
class TranscriptBlock:
    """A part of a transcript entry.

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
    """A transcript entry.

    ``who`` is researcher, tool or controller; ``note`` gives the reason or the cost.
    """

    event_id: int
    at: datetime
    who: str
    note: str
    blocks: tuple[TranscriptBlock, ...]
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Transcript:
    """A page of transcript entries in order.

    ``earlier`` is the ``before`` of the previous page, None at the beginning.
    """

    items: list[TranscriptItem]
    earlier: int | None


def read_transcript(session: Session, researcher_id: str, *, before: int | None = None, limit: int = 50) -> Transcript:
    """Returns the newest entries, or those before the event ``before``; at most ``limit``."""
    query = select(EventRecord).where(EventRecord.researcher_id == researcher_id, EventRecord.kind.in_(KINDS))
    if before is not None:
        query = query.where(EventRecord.id < before)
    records = list(session.scalars(query.order_by(EventRecord.id.desc()).limit(limit + 1)))
    page = records[:limit][::-1]
    scrub = researcher_scrubber(session, researcher_id)
    items = [
        transcript_item(
            LoggedEvent(each.id, each.campaign_id, each.researcher_id, each.at, _scrubbed(each.payload, scrub))
        )
        for each in page
    ]
    return Transcript(items, page[0].id if len(records) > limit else None)


def whole_transcript(session: Session, researcher_id: str) -> Iterator[LoggedEvent]:
    """Yields a researcher's transcript events, oldest first, without secrets.

    They are read a few hundred at a time.
    """
    scrub = researcher_scrubber(session, researcher_id)
    campaign_id, cursor = session.get_one(Researcher, researcher_id).campaign_id, 0
    while page := read_events(
        session, campaign_id, after=cursor, limit=_PAGE, researcher_id=researcher_id, kinds=KINDS
    ):
        for each in page:
            event = _scrubbed(each.event.model_dump(mode="json"), scrub)
            yield LoggedEvent(each.id, each.campaign_id, each.researcher_id, each.at, event)
        cursor = page[-1].id


def transcript_item(logged: LoggedEvent) -> TranscriptItem:
    """Formats an event as a transcript entry."""
    event, at = logged.event, logged.at
    match event:
        case TurnReceived():
            blocks = tuple(_block(raw) for raw in event.content)
            note = f"{event.output_tokens} tokens out, ${event.usd}"
            return TranscriptItem(logged.id, at, "researcher", note, blocks)
        case ToolFinished():
            blocks = tuple(_result(event.tool, raw) for raw in event.content)
            note = f"{event.tool}, {event.seconds:.1f} s"
            return TranscriptItem(logged.id, at, "tool", note, blocks, event.is_error)
        case MessageAdded() | ContextReset():
            blocks = tuple(_block(raw) for raw in event.content)
            note = event.reason if isinstance(event, MessageAdded) else f"context set aside: {event.reason}"
            return TranscriptItem(logged.id, at, "controller", note, blocks)
        case ModelCallFailed():
            return TranscriptItem(logged.id, at, "controller", "model call failed", (_text_block(event.error),), True)
        case SandboxLost():
            return TranscriptItem(logged.id, at, "controller", "sandbox lost", (_text_block(event.cause),), True)
        case ResearcherStateChanged():
            failed = event.state == "failed"
            return TranscriptItem(logged.id, at, "controller", f"is {event.state}", (_text_block(event.cause),), failed)
        case _:
            raise AssertionError(f"{event.kind} is not a transcript event")


def researcher_scrubber(session: Session, researcher_id: str) -> Scrubber:
    """Returns a scrubber for the secrets of a researcher's campaign."""
    campaign_id = session.scalar(select(Researcher.campaign_id).where(Researcher.id == researcher_id)) or ""
    return make_scrubber(session, campaign_id)


def _scrubbed(payload: dict[str, Any], scrub: Scrubber) -> AnyEvent:
    return parse_event(scrub.value(payload))


def _text_block(text: str) -> TranscriptBlock:
    return TranscriptBlock("text", "", clean_text(text))


def _block(raw: dict[str, Any]) -> TranscriptBlock:
    match raw.get("type"):
        case "text":
            return _text_block(str(raw.get("text", "")))
        case "thinking":
            return TranscriptBlock("thinking", "", clean_text(str(raw.get("thinking", ""))))
        case "tool_use":
            return TranscriptBlock("tool_use", clean_text(str(raw.get("name", ""))), _arguments(raw.get("input")))
        case other:
            return TranscriptBlock("other", clean_text(str(other)), "")


def _result(tool: str, raw: dict[str, Any]) -> TranscriptBlock:
    if raw.get("type") == "text":
        return TranscriptBlock("tool_result", tool, clean_text(str(raw.get("text", ""))))
    return TranscriptBlock("other", clean_text(str(raw.get("type"))), "")


def _arguments(value: Any) -> str:
    """Formats a tool's input: strings on lines of their own, other values as JSON."""
    if not isinstance(value, dict):
        return clean_text(json.dumps(value, ensure_ascii=False))
    if list(value) == ["command"] and isinstance(value["command"], str):
        return clean_text(value["command"])
    lines = []
    for key, each in value.items():
        text = each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)
        lines.append(f"{key}:\n{text}" if "\n" in text else f"{key}: {text}")
    return clean_text("\n".join(lines))


@dataclass(frozen=True, slots=True)
class JobView:
    """A background job.

    Args:
        id: within its sandbox.
        command: what it runs, on one line; agent text.
        state: running, ended, lost (its sandbox is gone).
        said: its last reported state, such as "exited with code 0 after 12 s".
    """

    id: str
    command: str
    state: str
    said: str
    started_at: datetime


def list_researcher_jobs(session: Session, researcher_id: str) -> list[JobView]:
    """Lists a researcher's newest jobs, newest first."""
    records = _records(session, researcher_id)
    scrub = researcher_scrubber(session, researcher_id)
    commands: dict[str, str] = {}
    jobs: dict[str, JobView] = {}
    lost: list[JobView] = []
    for record in records:
        payload = scrub.value(record.payload)
        if record.kind == "sandbox_lost":
            lost += [_lost(job) for job in jobs.values()]
            jobs = {}
        elif record.kind == "tool_started":
            commands[payload["tool_use_id"]] = payload["about"]
        elif not payload["is_error"]:
            for job_id, status in _TOLD.findall(_payload_text(payload)):
                if status == "started":
                    command = clean_line(commands.get(payload["tool_use_id"], ""))
                    jobs[job_id] = JobView(job_id, command, "running", "started", record.at)
                elif job_id in jobs and (status.startswith("is still running") or " after " in status):
                    state = "running" if status.startswith("is still") else "ended"
                    jobs[job_id] = replace(jobs[job_id], state=state, said=clean_line(status))
    return [*lost, *jobs.values()][::-1]


def _records(session: Session, researcher_id: str) -> Sequence[Row[Any]]:
    """Returns the newest job events, oldest first; searches only events since the last check."""
    own = EventRecord.researcher_id == researcher_id
    key = ("jobs", researcher_id)
    cursor, earlier = get_cached(session, key) or (0, ())
    # Never backwards: a reader with an older snapshot may come after one with a newer.
    newest = max(cursor, session.scalar(select(func.max(EventRecord.id)).where(own)) or 0)
    tool = EventRecord.payload["tool"].as_string()
    rows = session.execute(
        select(EventRecord.id, EventRecord.kind, EventRecord.at, EventRecord.payload)
        .where(own, EventRecord.id > cursor, EventRecord.id <= newest)
        .where(
            (EventRecord.kind == "sandbox_lost")
            | (EventRecord.kind.in_(("tool_started", "tool_finished")) & tool.in_(_TOOLS))
        )
        .order_by(EventRecord.id.desc())
        .limit(_LOOKED_AT)
    ).all()
    records = (*earlier, *reversed(rows))[-_LOOKED_AT:]
    put_cached(session, key, (newest, records))
    return records


def _lost(job: JobView) -> JobView:
    return replace(job, state="lost", said="its sandbox was lost") if job.state == "running" else job


def _payload_text(payload: dict[str, object]) -> str:
    content = payload.get("content")
    blocks = content if isinstance(content, list) else []
    return "\n".join(str(block.get("text", "")) for block in blocks if isinstance(block, dict))
