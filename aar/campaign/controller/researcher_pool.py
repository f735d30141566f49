"""The team of one campaign: starts and stops researchers as the database asks, and applies requests.

A researcher that is to stop has a grace period to end its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from aar.campaign.controller.runtime import CampaignRuntime
from aar.campaign.controller.service_restarts import MAX_FAILING_SECONDS, FaultBuffer, retry_write
from aar.campaign.controller.supervisor import ResearcherSignal, ResearcherSupervisor, set_researcher_state
from aar.campaign.controller_lock import ControlRequest
from aar.campaign.lifecycle import StopSignal
from aar.campaign.spec import override_stored_spec
from aar.campaign.steering import NO_COMMAND, DesiredState, read_desired_states
from aar.campaign.views import ResearcherView, list_researchers
from aar.errors import Conflict
from aar.researcher.context import ResearcherOutcome
from aar.store.models import Campaign

_TOO_LATE = "the team ended before it could start"
GRACE_SECONDS = 20.0
"""Seconds that a researcher may take to end its turn once requested; then its sandbox's commands are abandoned."""


class ResearcherPool:
    """Runs the team, and applies changes.

    Args:
        runtime: of the campaign; its limits may change.
    """

    def __init__(self, runtime: CampaignRuntime) -> None:
        self._runtime = runtime
        self._db = runtime.plan.database
        self._team = TeamReconciler(self._roster, self._begin, self._settle, runtime.stop, runtime.faults)
        runtime.gateways.on_recovery(self._team.service_recovered)

    async def run(self) -> list[ResearcherOutcome]:
        """Run the team to its end.

        Return the outcomes of researchers that stopped by themselves.
        """
        return await self._team.run()

    async def apply_request(self, request: ControlRequest) -> None:
        """Apply a control request (limits, new researcher, pause).

        Messages need no action; researchers read them from the log.
        """
        if request.command == "limits":
            await self._apply_limits()
        if self._team.closed:
            await self._db.write(self._reject_late)
        elif request.command == "limits":
            self._team.limits_changed()
        else:
            self._team.notify_change()

    async def _apply_limits(self) -> None:
        campaign_id = self._runtime.campaign_id
        spec = await self._db.read(lambda session: session.get_one(Campaign, campaign_id).spec)
        limits = override_stored_spec(spec, {}).limits
        await self._runtime.ledger.change_limits(limits)
        self._runtime.timer.limit_hours = limits.hours

    async def _roster(self) -> list[TeamMember]:
        def read(session: Session) -> list[TeamMember]:
            desired = read_desired_states(session, self._runtime.campaign_id)
            views = list_researchers(session, self._runtime.campaign_id)
            return [TeamMember(view, desired.get(view.id, NO_COMMAND)) for view in views if not view.is_external]

        return await self._db.read(read)

    def _begin(self, view: ResearcherView, signal: ResearcherSignal) -> Coroutine[Any, Any, ResearcherOutcome]:
        return ResearcherSupervisor(self._runtime, view, signal).run()

    async def _settle(self, member: TeamMember) -> None:
        state = "finished" if member.desired.is_ended else "paused"

        if (member.view.state, member.view.cause) != (state, member.desired.cause):
            await self._db.write(
                lambda session: set_researcher_state(session, member.view.id, state, member.desired.cause)
            )

    def _reject_late(self, session: Session) -> None:
        for view in list_researchers(session, self._runtime.campaign_id):
            if view.state == "created":
                set_researcher_state(session, view.id, "finished", _TOO_LATE)


@dataclass(frozen=True, slots=True)
class TeamMember:
    """A researcher of the team, and the newest command for it."""

    view: ResearcherView
    desired: DesiredState = NO_COMMAND


@dataclass(frozen=True, slots=True)
class _RunningResearcher:
    signal: ResearcherSignal
    task: asyncio.Task[ResearcherOutcome]


class TeamReconciler:
    """Reconciles the running researchers with the desired states in the database.

    Args:
        roster: the current team in the database.
        begin: starts a researcher.
        settle: records that a stopped researcher is in its desired state.
        stop: the campaign's stop signal.
        faults: receives errors while the database is out of reach.
    """

    def __init__(
        self,
        roster: Callable[[], Awaitable[Sequence[TeamMember]]],
        begin: Callable[[ResearcherView, ResearcherSignal], Coroutine[Any, Any, ResearcherOutcome]],
        settle: Callable[[TeamMember], Awaitable[None]],
        stop: StopSignal,
        faults: FaultBuffer,
    ) -> None:
        self._faults = faults
        self._roster = roster
        self._begin = begin
        self._settle = settle
        self._stop = stop
        self._changed = asyncio.Event()
        self._running: dict[str, _RunningResearcher] = {}
        self._paused: set[str] = set()
        self._outcomes: dict[str, ResearcherOutcome] = {}
        self._command_at_start: dict[str, int] = {}
        self.closed = False
        """True once the team has ended; no researcher joins it any more."""

    def notify_change(self) -> None:
        """Note that the roster or a desired state changed."""
        self._changed.set()

    def limits_changed(self) -> None:
        """Let researchers that stopped because of a limit try again."""
        self._outcomes = {name: each for name, each in self._outcomes.items() if each.reason != "limit"}
        self._changed.set()

    def service_recovered(self) -> None:
        """Let researchers that stopped because of their provider try again."""
        if any(each.reason == "away" for each in self._outcomes.values()):
            self._outcomes = {name: each for name, each in self._outcomes.items() if each.reason != "away"}
            self._changed.set()

    async def run(self) -> list[ResearcherOutcome]:
        """Run until all researchers stopped or the campaign ends.

        It does not end by itself while an operator has paused a researcher.

        Returns:
            The outcomes of those that came to an end by themselves.
        """
        stopping = asyncio.create_task(self._stop.event.wait())
        try:
            while not self._stop.event.is_set():
                self._changed.clear()
                await retry_write("roster", self._reconcile, self._faults, seconds=MAX_FAILING_SECONDS)
                if not self._running and not self._paused:
                    break
                await self._wait_for_change(stopping)
            for running in self._running.values():
                running.signal.event.set()
            if self._running:
                await asyncio.wait([running.task for running in self._running.values()], timeout=GRACE_SECONDS)
                self._collect_ended()
        finally:
            self.closed = True
            stopping.cancel()
            tasks = [running.task for running in self._running.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
        return list(self._outcomes.values())

    async def _wait_for_change(self, stopping: asyncio.Task[Any]) -> None:
        """Wait until a researcher ends, the database changes, or the campaign is to end."""
        changed = asyncio.create_task(self._changed.wait())
        try:
            tasks = [running.task for running in self._running.values()]
            await asyncio.wait([*tasks, stopping, changed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        self._collect_ended()

    async def _reconcile(self) -> None:
        self._paused = set()
        for member in await self._roster():
            running, desired = self._running.get(member.view.id), member.desired
            if running is not None:
                if (desired.is_ended or desired.is_paused) and (running.signal.desired is None or desired.is_ended):
                    self._signal_end(running, desired)
            elif member.view.state == "finished":
                continue
            elif desired.is_ended or desired.is_paused:
                self._outcomes.pop(member.view.id, None)
                await self._settle(member)
                if desired.is_paused:
                    self._paused.add(member.view.id)
            elif member.view.id not in self._outcomes or desired.id > self._command_at_start.get(member.view.id, 0):
                self._outcomes.pop(member.view.id, None)
                signal = ResearcherSignal()
                self._running[member.view.id] = _RunningResearcher(
                    signal, asyncio.create_task(self._begin(member.view, signal))
                )
                self._command_at_start[member.view.id] = desired.id

    def _signal_end(self, running: _RunningResearcher, desired: DesiredState) -> None:
        running.signal.desired = desired
        if not running.signal.event.is_set():
            running.signal.event.set()
            asyncio.get_running_loop().call_later(GRACE_SECONDS, running.task.cancel)

    def _collect_ended(self) -> None:
        """Collect the researchers that ended.

        One that raised an error failed; the others go on.

        Raises:
            Conflict: another controller has the researcher's sandbox.
        """
        for name, running in list(self._running.items()):
            if running.task.done():
                del self._running[name]
                if not running.task.cancelled():
                    outcome = _outcome(running.task)
                    if running.signal.desired is None or outcome.reason != "paused":
                        self._outcomes[name] = outcome


def _outcome(ended: asyncio.Task[ResearcherOutcome]) -> ResearcherOutcome:
    error = ended.exception()
    if error is None:
        return ended.result()
    if isinstance(error, Conflict) or not isinstance(error, Exception):
        raise error
    return ResearcherOutcome("failed", f"{type(error).__name__}: {error}")
