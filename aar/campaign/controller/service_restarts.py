"""Restarts a controller's services, and buffers faults and incidents until they are logged.

A service that fails is logged, waits, and starts again. Only a service that the campaign needs can pause it, and only
by an error that waiting does not fix.
"""

from __future__ import annotations

import asyncio
import errno
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.errors import AarError, LimitReached, SandboxUnavailable, find_disk_full, is_transient
from aar.events import AnyEvent, SandboxIncident, ServiceFailed
from aar.processes import DescriptorReserve
from aar.sandbox.incidents import Incident
from aar.store.event_log import append_event
from aar.store.models import Researcher

log = structlog.get_logger(__name__)

MAX_FAILING_SECONDS = 600.0
"""Longest time that a needed service may fail before the campaign is paused."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
HEALTHY_SECONDS = 60.0
_UNEXPECTED = 3
_MAX_TEXT = 500
_MOST_FAULTS = 200
_MOST_INCIDENTS = 1000


class FaultBuffer:
    """Buffers the errors of services until they are written to the event log.

    Drops the oldest first.
    """

    def __init__(self) -> None:
        self._waiting: list[AnyEvent] = []
        self._last_logged: dict[tuple[str, str, str], float] = {}
        self.reserve = DescriptorReserve()

    def __len__(self) -> int:
        """Return the number of errors that wait to be written."""
        return len(self._waiting)

    def add_fault(self, service: str, error: BaseException, then: str, *, every: float = 0.0) -> None:
        """Add the error of a service, and the action taken.

        Args:
            every: seconds in which the same error is logged once, for work that is tried several times a second.
        """
        named = find_disk_full(error) or error
        cause = str(named) if isinstance(named, AarError) else f"{type(error).__name__}: {error}"
        short = " ".join(cause.split())[:_MAX_TEXT]
        if self._is_new((service, short, then), every):
            log.warning("service failed", service=service, error=short, then=then)
            self.add_event(ServiceFailed(service=service, error=short, then=then))
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            self.reserve.release()

    def _is_new(self, what: tuple[str, str, str], every: float) -> bool:
        moment = time.monotonic()
        if moment - self._last_logged.get(what, -math.inf) < every:
            return False
        if len(self._last_logged) >= _MOST_FAULTS:
            self._last_logged.clear()
        self._last_logged[what] = moment
        return True

    def add_event(self, event: AnyEvent) -> None:
        """Add an event about another fault."""
        self._waiting = [*self._waiting[-_MOST_FAULTS + 1 :], event]

    def drain(self) -> list[AnyEvent]:
        """Return all waiting events; they count as written."""
        taken, self._waiting = self._waiting, []
        self.reserve.refill()
        return taken


@dataclass(slots=True)
class RestartBackoff:
    """Decides how long a service may fail, and the pause before each restart.

    Args:
        seconds: of failing without a healthy period between; None for ever.
        unexpected: how many unforeseen errors in a row; None for any number.
    """

    seconds: float | None = MAX_FAILING_SECONDS
    unexpected: int | None = _UNEXPECTED
    _since: float | None = field(default=None, init=False)
    _tries: int = field(default=0, init=False)
    _surprises: int = field(default=0, init=False)

    def reset(self) -> None:
        """Note that the service works again."""
        self._since, self._tries, self._surprises = None, 0, 0

    def next_delay(self, error: Exception, *, foreseen: bool) -> float | None:
        """Return the seconds to wait before the next try; None for no more tries."""
        moment = time.monotonic()
        self._since = self._since or moment
        self._surprises += not foreseen
        if self.seconds is not None and moment - self._since >= self.seconds:
            return None
        if self.unexpected is not None and self._surprises > self.unexpected:
            return None
        self._tries += 1
        return float(min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2 ** (self._tries - 1)))


async def run_with_restarts(
    name: str, work: Callable[[], Awaitable[None]], faults: FaultBuffer, *, needed: bool, tries: int | None = None
) -> None:
    """Run a service until it ends or is cancelled; restart it after errors.

    Args:
        name: for people.
        work: starts the service.
        faults: receives each error.
        needed: whether the campaign needs it: an AarError that names a lasting cause is raised, and so is an error that
            waiting does not fix.
        tries: for a service that is not needed: after so many errors without a healthy period it is dropped; None for
            any number.

    Raises:
        AarError, Exception: of a service that is needed.
    """
    backoff = RestartBackoff() if needed else RestartBackoff(None, tries)
    while True:
        started = time.monotonic()
        try:
            await work()
            return
        except Exception as error:
            if _is_cancelled():
                faults.add_fault(name, error, "it was ending")
                return
            if time.monotonic() - started >= HEALTHY_SECONDS:
                backoff.reset()
            foreseen = needed and (is_transient(error) or isinstance(error, SandboxUnavailable))
            if needed and isinstance(error, AarError) and not foreseen:
                if not isinstance(error, LimitReached):  # logged as a limit instead
                    faults.add_fault(name, error, "given up")
                raise
            pause = backoff.next_delay(error, foreseen=foreseen)
            if pause is None:
                faults.add_fault(name, error, "given up")
                if needed:
                    raise
                return
            faults.add_fault(name, error, f"started again in {pause:g} s")
        await asyncio.sleep(pause)


async def retry_write(name: str, write: Callable[[], Awaitable[None]], faults: FaultBuffer, *, seconds: float) -> None:
    """Write once, and again while the obstacle may pass.

    Raises the last error after so many seconds.
    """
    backoff = RestartBackoff(seconds, 0)
    while True:
        try:
            await write()
            return
        except Exception as error:
            if _is_cancelled():
                raise
            pause = backoff.next_delay(error, foreseen=is_transient(error))
            if pause is None:
                raise
            faults.add_fault(name, error, f"tried again in {pause:g} s")
        await asyncio.sleep(pause)


def _is_cancelled() -> bool:
    """Return whether this task was cancelled, even if its work raised another error."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class IncidentBuffer:
    """Buffers the incidents of backends in the loop, and writes them in a transaction.

    If a sandbox causes more incidents than fit, the oldest of them are dropped.
    """

    def __init__(self) -> None:
        self._waiting: deque[Incident] = deque(maxlen=_MOST_INCIDENTS)

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
            event = SandboxIncident(name=incident.sandbox, incident=str(incident.kind), detail=incident.detail)
            append_event(session, campaign_id, event, incident.sandbox if incident.sandbox in researchers else None)
        return len(own)
