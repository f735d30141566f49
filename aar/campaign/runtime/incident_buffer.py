"""Buffers the incidents of sandboxes until they are written to the event log."""

from __future__ import annotations

from collections import deque

from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.events import SandboxIncident
from aar.sandbox.incidents import Incident
from aar.store.event_log import append_event
from aar.store.models import Researcher

_MOST = 1000


class IncidentBuffer:
    """Buffers the incidents of backends in the loop, and writes them in a transaction.

    If a sandbox causes more incidents than fit, the oldest of them are dropped.
    """

    def __init__(self) -> None:
        self._waiting: deque[Incident] = deque(maxlen=_MOST)

    def __call__(self, incident: Incident) -> None:
        """Add one incident."""
        self._waiting.append(incident)

    def __len__(self) -> int:
        """Return the number of incidents that wait to be written."""
        return len(self._waiting)

    def write(self, session: Session, campaign_id: str) -> int:
        """Write a campaign's incidents, drop the others; return how many were written."""
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        researchers = set(session.scalars(select(Researcher.id).where(Researcher.campaign_id == campaign_id)))
        own = [incident for incident in taken if incident.campaign_id == campaign_id]
        for incident in own:
            happened = SandboxIncident(name=incident.sandbox, incident=str(incident.kind), detail=incident.detail)
            append_event(session, campaign_id, happened, incident.sandbox if incident.sandbox in researchers else None)
        return len(own)
