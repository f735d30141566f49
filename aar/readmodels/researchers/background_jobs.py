"""Background jobs of a researcher, read from the event log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from aar.readmodels.researchers.transcript import researcher_scrubber
from aar.store.models import EventRecord
from aar.store.session_cache import get_cached, put_cached
from aar.text.sanitize import clean_line

_TOOLS = ("start_job", "wait", "job_output", "stop_job")
_TOLD = re.compile(r"^Job (\S{1,64}) ([^\n]+)\.$", re.MULTILINE)
_LOOKED_AT = 600


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
    asked: dict[str, str] = {}
    found: dict[str, JobView] = {}
    gone: list[JobView] = []
    for record in records:
        payload = scrub.value(record.payload)
        if record.kind == "sandbox_lost":
            gone += [_lost(job) for job in found.values()]
            found = {}
        elif record.kind == "tool_started":
            asked[payload["tool_use_id"]] = payload["about"]
        elif not payload["is_error"]:
            for job_id, said in _TOLD.findall(_text(payload)):
                if said == "started":
                    command = clean_line(asked.get(payload["tool_use_id"], ""))
                    found[job_id] = JobView(job_id, command, "running", "started", record.at)
                elif job_id in found and (said.startswith("is still running") or " after " in said):
                    state = "running" if said.startswith("is still") else "ended"
                    found[job_id] = replace(found[job_id], state=state, said=clean_line(said))
    return [*gone, *found.values()][::-1]


def _records(session: Session, researcher_id: str) -> Sequence[Row[Any]]:
    """Returns the newest job events, oldest first; searches only events since the last check."""
    own = EventRecord.researcher_id == researcher_id
    key = ("jobs", researcher_id)
    cursor, known = get_cached(session, key) or (0, ())
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
    found = (*known, *reversed(rows))[-_LOOKED_AT:]
    put_cached(session, key, (newest, found))
    return found


def _lost(job: JobView) -> JobView:
    return replace(job, state="lost", said="its sandbox was lost") if job.state == "running" else job


def _text(payload: dict[str, object]) -> str:
    content = payload.get("content")
    blocks = content if isinstance(content, list) else []
    return "\n".join(str(block.get("text", "")) for block in blocks if isinstance(block, dict))
