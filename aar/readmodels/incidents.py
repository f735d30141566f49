"""Incidents of a campaign with their counts: outages, failed calls, deaths, pauses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.events import (
    AnyEvent,
    CampaignFinished,
    CampaignPaused,
    CampaignStarted,
    ContextReset,
    ModelCallFailed,
    ModelServiceRecovered,
    ModelServiceUnavailable,
    ProblemFailed,
    SandboxIncident,
    SandboxLost,
    ServiceFailed,
    UsageDoubted,
    parse_event,
)
from aar.store.models import EventRecord
from aar.text.sanitize import clean_line

_KINDS = (
    "campaign_started",
    "campaign_paused",
    "campaign_finished",
    "context_reset",
    "model_call_failed",
    "model_service_unavailable",
    "model_service_recovered",
    "problem_failed",
    "sandbox_incident",
    "sandbox_lost",
    "service_failed",
    "usage_doubted",
)
_MOST_TEXT = 200
_MOST = 100


@dataclass(slots=True)
class CampaignIncident:
    """An incident of a campaign, with its number of occurrences.

    Args:
        first, last: times of the first and the last occurrence.
        text: one line about the first occurrence, free of control characters.
        count: how often.
        researchers: names of the researchers concerned; empty for the campaign.
    """

    first: datetime
    last: datetime
    text: str
    count: int = 1
    researchers: list[str] = field(default_factory=list)


def list_incidents(session: Session, campaign_id: str) -> list[CampaignIncident]:
    """Lists incidents in order of their first occurrence.

    At most the first hundred different ones.
    """
    records = session.scalars(
        select(EventRecord)
        .where(EventRecord.campaign_id == campaign_id, EventRecord.kind.in_(_KINDS))
        .order_by(EventRecord.id)
    )
    found: dict[tuple[str, ...], CampaignIncident] = {}
    for record, event, died in _with_deaths(records):
        told = ("died", "the controller died; another one resumed the campaign") if died else _read(event)
        if told is None:
            continue
        key, text = told[:-1], clean_line(told[-1])[:_MOST_TEXT]
        name = (record.researcher_id or "").rpartition("-")[2]
        known = found.get(key)
        if known is None:
            if len(found) < _MOST:
                found[key] = CampaignIncident(record.at, record.at, text, researchers=[name] if name else [])
            continue
        known.last, known.count = record.at, known.count + 1
        if name and name not in known.researchers:
            known.researchers.append(name)
    return list(found.values())


def _with_deaths(records: Iterable[EventRecord]) -> Iterable[tuple[EventRecord, AnyEvent, bool]]:
    """Yields events; the flag marks a controller's start after a dead one."""
    running = False
    for record in records:
        event = parse_event(record.payload)
        yield record, event, running and isinstance(event, CampaignStarted)
        running = isinstance(event, CampaignStarted) or (
            running and not isinstance(event, (CampaignPaused, CampaignFinished))
        )


def _read(event: AnyEvent) -> tuple[str, ...] | None:
    """Returns the key of an event's incident, followed by its text."""
    match event:
        case ServiceFailed():
            return event.kind, event.service, event.error, f"{event.service} failed ({event.error})"
        case ModelServiceUnavailable():
            text = event.summary() if event.until else f"the model service was unavailable: {event.cause}"
            return event.kind, event.cause, text
        case ModelServiceRecovered():
            return event.kind, event.service, event.summary()
        case ModelCallFailed():
            return event.kind, event.error, event.summary()
        case UsageDoubted():
            return event.kind, event.cause, event.summary()
        case SandboxLost():
            return event.kind, event.cause, f"a sandbox was lost: {event.cause}"
        case SandboxIncident():
            return event.kind, event.incident, f"sandbox incident: {event.incident}"
        case ContextReset(kept_turns=0):  # one that grew keeps its last turns
            return event.kind, event.reason, event.summary()
        case ProblemFailed() | CampaignPaused():
            return event.kind, event.summary(), event.summary()
        case _:
            return None
