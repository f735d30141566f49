"""The team of one campaign under its controller: lives from the database's rows, and what people ask while it works."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from sqlalchemy.orm import Session

from aar.campaign.control.control_requests import Request
from aar.campaign.control.researcher_commands import NO_WISH, wishes
from aar.campaign.external_researchers import is_outside
from aar.campaign.researchers.reconciler import LifeSignal, Member, Team
from aar.campaign.researchers.supervisor import Supervisor
from aar.campaign.run_timer import Clock
from aar.campaign.runtime.campaign_runtime import Workshop
from aar.campaign.spec_loader import respecify
from aar.campaign.views import ResearcherView, list_researchers
from aar.events import ResearcherStateChanged
from aar.researcher.context import ResearcherOutcome
from aar.store.event_log import append_event
from aar.store.models import Campaign, Researcher

_LATE = "the team had ended before it could begin"


class Crew:
    """Runs the team, and takes up what changes.

    Args:
        workshop: of the campaign.
        clock: its wall clock, whose limit may change.
    """

    def __init__(self, workshop: Workshop, clock: Clock) -> None:
        self._workshop = workshop
        self._db = workshop.plan.database
        self._clock = clock
        self._team = Team(self._roster, self._begin, self._settle, workshop.stop, workshop.faults)
        workshop.endpoints.when_back(self._team.service_is_back)

    async def live(self) -> list[ResearcherOutcome]:
        """Run the team to its end; returns the outcomes of those that came to rest by themselves."""
        return await self._team.run()

    async def heed(self, request: Request) -> None:
        """Take up what a person asked for: other limits, a newcomer, a researcher's rest. Words need no help here."""
        if request.command == "limits":
            await self._take_limits()
        if self._team.closed:
            await self._db.write(self._turn_away)
        elif request.command == "limits":
            self._team.limits_changed()
        else:
            self._team.look()

    async def _take_limits(self) -> None:
        campaign_id = self._workshop.campaign_id
        spec = await self._db.read(lambda session: session.get_one(Campaign, campaign_id).spec)
        limits = respecify(spec, {}).limits
        await self._workshop.ledger.change_limits(limits)
        self._clock.change_limit(limits.hours)

    async def _roster(self) -> list[Member]:
        def read(session: Session) -> list[Member]:
            wished = wishes(session, self._workshop.campaign_id)
            views = list_researchers(session, self._workshop.campaign_id)
            return [Member(view, wished.get(view.id, NO_WISH)) for view in views if not is_outside(view.model)]

        return await self._db.read(read)

    def _begin(self, view: ResearcherView, signal: LifeSignal) -> Coroutine[Any, Any, ResearcherOutcome]:
        return Supervisor(self._workshop, view, signal).run()

    async def _settle(self, member: Member) -> None:
        state = "finished" if member.wish.ends else "paused"

        def write(session: Session) -> None:
            _rest(session, session.get_one(Researcher, member.view.id), state, member.wish.cause)

        if (member.view.state, member.view.cause) != (state, member.wish.cause):
            await self._db.write(write)

    def _turn_away(self, session: Session) -> None:
        for view in list_researchers(session, self._workshop.campaign_id):
            if view.state == "created":
                _rest(session, session.get_one(Researcher, view.id), "finished", _LATE)


def _rest(session: Session, researcher: Researcher, state: str, cause: str) -> None:
    append_event(session, researcher.campaign_id, ResearcherStateChanged(state=state, cause=cause), researcher.id)
    researcher.state, researcher.cause, researcher.doing = state, cause, ""
