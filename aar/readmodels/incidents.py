"""What went wrong in a campaign, and how often: outages, failed calls, parts and controllers that died, pauses."""

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
    """Something that went wrong, once or again.

    Args:
        first, last: when.
        text: one line, free of control characters; of the first time.
        count: how often.
        researchers: names of those whom it concerned; empty for the campaign.
    """

    first: datetime
    last: datetime
    text: str
    count: int = 1
    researchers: list[str] = field(default_factory=list)


def list_incidents(session: Session, campaign_id: str) -> list[CampaignIncident]:
    """All that went wrong, in the order in which it first did; of more than a hundred different ones, the first."""
    records = session.scalars(
        select(EventRecord)
        .where(EventRecord.campaign_id == campaign_id, EventRecord.kind.in_(_KINDS))
        .order_by(EventRecord.id)
    )
    found: dict[tuple[str, ...], CampaignIncident] = {}
    for record, event, died in _with_deaths(records):
        told = ("died", "the controller died; another one took the campaign up") if died else _read(event)
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
    """The events, and whether one is the start of a controller that follows a dead one."""
    running = False
    for record in records:
        event = parse_event(record.payload)
        yield record, event, running and isinstance(event, CampaignStarted)
        running = isinstance(event, CampaignStarted) or (
            running and not isinstance(event, (CampaignPaused, CampaignFinished))
        )


def _read(event: AnyEvent) -> tuple[str, ...] | None:
    """What tells one disturbance from another, and then its line."""
    match event:
        case ServiceFailed():
            return event.kind, event.service, event.error, f"{event.service} failed ({event.error})"
        case ModelServiceUnavailable():
            text = event.summary() if event.until else f"the model service could not be had: {event.cause}"
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
