"""What people should look at first: alerts, sandbox incidents, and doubtful usage figures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aar.campaign.controller_lock import controller_state
from aar.campaign.diversity import LOW_DIVERSITY_BITS
from aar.campaign.views import controller_lost_text
from aar.events import (
    AnyEvent,
    CampaignFinished,
    CampaignPaused,
    CampaignStarted,
    ContextReset,
    DiversityMeasured,
    LimitHit,
    LimitNear,
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
from aar.readmodels.formatting import format_time
from aar.scoring.visibility import Audience, event_seen_by
from aar.store.event_log import LoggedEvent
from aar.store.models import Campaign, EventRecord, Researcher
from aar.text import clean_line

_ALERT_KINDS = (
    "limit_hit",
    "limit_near",
    "diversity_fell",
    "sandbox_incident",
    "usage_doubted",
    "service_failed",
    "problem_failed",
    "model_service_unavailable",
)
_EVENTS_READ = 200
_ENDED_STATES = ("finished", "failed")
_INCIDENT_KINDS = (
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


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that people should read first.

    Args:
        kind: limit, diversity, incident, failure.
        grave: True if it stopped something, or a forbidden action was tried.
        text: one line, free of control characters.
        researcher: name of the researcher concerned; empty for the campaign.
        count: how often it happened.
    """

    at: datetime
    kind: Literal["limit", "diversity", "incident", "failure"]
    grave: bool
    text: str
    researcher: str = ""
    count: int = 1


def list_alerts(session: Session, campaign_id: str, audience: Audience = Audience.OPERATOR) -> list[Alert]:
    """Lists the current alerts: grave ones first, then newest first.

    Repeated alerts appear once, with their count.

    For a campaign that is over, only the limit that ended it is listed.

    Args:
        audience: the reader's role; only people see the text that a sandbox incident quotes.
    """
    campaign = session.get(Campaign, campaign_id)
    over = campaign is not None and campaign.state in _ENDED_STATES
    records = session.scalars(
        select(EventRecord)
        .where(EventRecord.campaign_id == campaign_id, EventRecord.kind.in_(_ALERT_KINDS))
        .order_by((EventRecord.id + 0).desc())  # as an expression, the few are found by their kind
        .limit(_EVENTS_READ)
    ).all()
    alerts: dict[tuple[str, ...], Alert] = {}
    for record in records:
        event = parse_event(record.payload)
        who = (record.researcher_id or "").rpartition("-")[2]
        key, kind, grave = _alert_key(event, who)
        if not key or (event.kind == "diversity_fell" and _recovered(session, campaign_id, record.id)):
            continue
        if isinstance(event, ModelServiceUnavailable) and (over or _has_recovered(session, event, record)):
            continue
        if isinstance(event, ServiceFailed) and event.then == "given up" and _is_resumed(session, record):
            continue
        if over and kind == "limit":
            if not _ended_it(session, event, record):
                continue
            key, grave = ("ended",), False
        earlier = alerts.get(key)
        if earlier is None:
            logged = LoggedEvent(record.id, campaign_id, record.researcher_id, record.at, event)
            seen = event_seen_by(logged, audience)
            alerts[key] = Alert(record.at, kind, grave, clean_line(seen.event.summary()) if seen else event.kind, who)
        elif kind == "incident":
            alerts[key] = Alert(earlier.at, kind, grave, earlier.text, who, earlier.count + 1)
    every = [*alerts.values(), *_failures(session, campaign_id), *_lost_controller(campaign)]
    return sorted(every, key=lambda each: (not each.grave, -each.at.timestamp()))


def _alert_key(event: AnyEvent, who: str) -> tuple[tuple[str, ...], Literal["limit", "diversity", "incident"], bool]:
    match event:
        case LimitHit():
            return (("limit", event.limit) if event.scope == "campaign" else ("limit", event.limit, who)), "limit", True
        case LimitNear():
            # A reached limit replaces the alert that it is near.
            return ("limit", event.limit), "limit", event.percent >= 95
        case _ if event.kind == "diversity_fell":
            return ("diversity",), "diversity", False
        case UsageDoubted():
            return ("usage", event.cause), "incident", False
        case _ if event.kind == "sandbox_incident":
            return ("incident", event.incident, who), "incident", True
        case ModelServiceUnavailable():
            return ("model service", event.service), "incident", True
        case ServiceFailed():
            return ("service", event.service), "incident", event.then == "given up"
        case ProblemFailed():
            return ("problem", event.error), "incident", True
        case _:
            return (), "incident", False


def _ended_it(session: Session, event: AnyEvent, record: EventRecord) -> bool:
    """Returns True if a finished campaign reached its own limit in its last run."""
    started = select(func.max(EventRecord.id)).where(
        EventRecord.campaign_id == record.campaign_id, EventRecord.kind == "campaign_started"
    )
    return isinstance(event, LimitHit) and event.scope == "campaign" and record.id > (session.scalar(started) or 0)


def _has_recovered(session: Session, event: ModelServiceUnavailable, record: EventRecord) -> bool:
    """Returns True if the service answered since, or another controller retries it."""
    later = session.execute(
        select(EventRecord.kind, EventRecord.payload).where(
            EventRecord.campaign_id == record.campaign_id,
            EventRecord.id > record.id,
            EventRecord.kind.in_(("model_service_recovered", "campaign_started")),
        )
    )
    return any(kind == "campaign_started" or payload.get("service") == event.service for kind, payload in later)


def _is_resumed(session: Session, record: EventRecord) -> bool:
    """Returns True if another controller resumed the campaign since."""
    later = select(EventRecord.id).where(
        EventRecord.campaign_id == record.campaign_id,
        EventRecord.id > record.id,
        EventRecord.kind == "campaign_started",
    )
    return session.scalar(later.limit(1)) is not None


def _recovered(session: Session, campaign_id: str, fell: int) -> bool:
    """Returns True if diversity rose again after a drop.

    It must reach ``LOW_DIVERSITY_BITS`` and half of the highest value before.
    """
    log = session.execute(
        select(EventRecord.id, EventRecord.payload)
        .where(EventRecord.campaign_id == campaign_id, EventRecord.kind == "diversity_measured")
        .order_by(EventRecord.id)
    )
    highest, after = 0.0, []
    for number, payload in log:
        bits = DiversityMeasured.model_validate(payload).bits
        highest = max(highest, bits) if number < fell else highest
        after += [bits] if number > fell else []
    return any(bits >= max(LOW_DIVERSITY_BITS, highest / 2) for bits in after)


def _failures(session: Session, campaign_id: str) -> list[Alert]:
    last = select(func.max(EventRecord.at)).where(
        EventRecord.researcher_id == Researcher.id, EventRecord.kind == "researcher_state_changed"
    )
    rows = session.execute(
        select(Researcher.name, Researcher.cause, Campaign.created_at, last.scalar_subquery())
        .join(Campaign, Campaign.id == Researcher.campaign_id)
        .where(Researcher.campaign_id == campaign_id, Researcher.state == "failed")
        .order_by(Researcher.index)
    )
    return [
        Alert(at or created, "failure", True, clean_line(f"{name} failed: {cause}"), name)
        for name, cause, created, at in rows
    ]


def _lost_controller(campaign: Campaign | None) -> list[Alert]:
    """Returns an alert if the controller of a running campaign is dead."""
    if campaign is None or controller_state(campaign) != "lost":
        return []
    text = controller_lost_text(campaign.id, campaign.state, campaign.heartbeat_at, format_time)
    return [Alert(campaign.heartbeat_at or campaign.created_at, "failure", True, text)]


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
        .where(EventRecord.campaign_id == campaign_id, EventRecord.kind.in_(_INCIDENT_KINDS))
        .order_by(EventRecord.id)
    )
    incidents: dict[tuple[str, ...], CampaignIncident] = {}
    for record, event, died in _with_deaths(records):
        keyed = ("died", "the controller died; another one resumed the campaign") if died else _incident_key(event)
        if keyed is None:
            continue
        key, text = keyed[:-1], clean_line(keyed[-1])[:_MOST_TEXT]
        name = (record.researcher_id or "").rpartition("-")[2]
        earlier = incidents.get(key)
        if earlier is None:
            if len(incidents) < _MOST:
                incidents[key] = CampaignIncident(record.at, record.at, text, researchers=[name] if name else [])
            continue
        earlier.last, earlier.count = record.at, earlier.count + 1
        if name and name not in earlier.researchers:
            earlier.researchers.append(name)
    return list(incidents.values())


def _with_deaths(records: Iterable[EventRecord]) -> Iterable[tuple[EventRecord, AnyEvent, bool]]:
    """Yields events; the flag marks a controller's start after a dead one."""
    running = False
    for record in records:
        event = parse_event(record.payload)
        yield record, event, running and isinstance(event, CampaignStarted)
        running = isinstance(event, CampaignStarted) or (
            running and not isinstance(event, (CampaignPaused, CampaignFinished))
        )


def _incident_key(event: AnyEvent) -> tuple[str, ...] | None:
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


@dataclass(frozen=True, slots=True)
class UsageDoubt:
    """A doubt about reported usage; such calls are charged at their worst case.

    Args:
        cause: one line, free of control characters.
        researchers: names of the researchers whose calls it concerns.
    """

    cause: str
    researchers: tuple[str, ...]


def list_usage_doubts(session: Session, campaign_id: str) -> list[UsageDoubt]:
    """Lists doubts about a campaign's bill, in order of their first occurrence."""
    rows = session.execute(
        select(EventRecord.researcher_id, EventRecord.payload)
        .where(EventRecord.campaign_id == campaign_id, EventRecord.kind == "usage_doubted")
        .order_by(EventRecord.id)
    )
    doubts: dict[str, dict[str, None]] = {}
    for researcher_id, payload in rows:
        cause = clean_line(UsageDoubted.model_validate(payload).cause)
        name = (researcher_id or "").rpartition("-")[2]
        doubts.setdefault(cause, {}).update({name: None} if name else {})
    return [UsageDoubt(cause, tuple(names)) for cause, names in doubts.items()]
