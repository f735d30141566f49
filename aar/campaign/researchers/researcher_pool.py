"""The team of one campaign: starts its researchers and applies requests to it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from sqlalchemy.orm import Session

from aar.campaign.control.controller_lock import ControlRequest
from aar.campaign.control.researcher_commands import NO_COMMAND, read_desired_states
from aar.campaign.external_researchers import is_external
from aar.campaign.researchers.reconciler import ResearcherSignal, TeamMember, TeamReconciler
from aar.campaign.researchers.supervisor import ResearcherSupervisor
from aar.campaign.run_timer import RunTimer
from aar.campaign.runtime.campaign_runtime import CampaignRuntime
from aar.campaign.spec_loader import override_stored_spec
from aar.campaign.views import ResearcherView, list_researchers
from aar.events import ResearcherStateChanged
from aar.researcher.context import ResearcherOutcome
from aar.store.event_log import append_event
from aar.store.models import Campaign, Researcher

_LATE = "the team ended before it could start"


class ResearcherPool:
    """Runs the team, and applies changes.

    Args:
        workshop: of the campaign.
        clock: its wall clock, whose limit may change.
    """

    def __init__(self, workshop: CampaignRuntime, clock: RunTimer) -> None:
        self._runtime = workshop
        self._db = workshop.plan.database
        self._clock = clock
        self._team = TeamReconciler(self._roster, self._begin, self._settle, workshop.stop, workshop.faults)
        workshop.gateways.on_recovery(self._team.service_recovered)

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
            await self._take_limits()
        if self._team.closed:
            await self._db.write(self._reject_late)
        elif request.command == "limits":
            self._team.limits_changed()
        else:
            self._team.notify_change()

    async def _take_limits(self) -> None:
        campaign_id = self._runtime.campaign_id
        spec = await self._db.read(lambda session: session.get_one(Campaign, campaign_id).spec)
        limits = override_stored_spec(spec, {}).limits
        await self._runtime.ledger.change_limits(limits)
        self._clock.change_limit(limits.hours)

    async def _roster(self) -> list[TeamMember]:
        def read(session: Session) -> list[TeamMember]:
            wished = read_desired_states(session, self._runtime.campaign_id)
            views = list_researchers(session, self._runtime.campaign_id)
            return [TeamMember(view, wished.get(view.id, NO_COMMAND)) for view in views if not is_external(view.model)]

        return await self._db.read(read)

    def _begin(self, view: ResearcherView, signal: ResearcherSignal) -> Coroutine[Any, Any, ResearcherOutcome]:
        return ResearcherSupervisor(self._runtime, view, signal).run()

    async def _settle(self, member: TeamMember) -> None:
        state = "finished" if member.desired.is_ended else "paused"

        def write(session: Session) -> None:
            _stop_researcher(session, session.get_one(Researcher, member.view.id), state, member.desired.cause)

        if (member.view.state, member.view.cause) != (state, member.desired.cause):
            await self._db.write(write)

    def _reject_late(self, session: Session) -> None:
        for view in list_researchers(session, self._runtime.campaign_id):
            if view.state == "created":
                _stop_researcher(session, session.get_one(Researcher, view.id), "finished", _LATE)


def _stop_researcher(session: Session, researcher: Researcher, state: str, cause: str) -> None:
    append_event(session, researcher.campaign_id, ResearcherStateChanged(state=state, cause=cause), researcher.id)
    researcher.state, researcher.cause, researcher.doing = state, cause, ""
