"""All researchers' lives side by side, begun and ended as people ask, and the grace they get to end a turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from aar.campaign.control.researcher_commands import NO_WISH, Wish
from aar.campaign.lifecycle.ending import StopSignal
from aar.campaign.runtime.service_restarts import PATIENCE_SECONDS, FaultLog, persist
from aar.campaign.views import ResearcherView
from aar.errors import Conflict
from aar.researcher.context import ResearcherOutcome

GRACE_SECONDS = 20.0
"""How long a researcher may take to end its turn once asked; then what runs in its sandbox is left to its fate."""


@dataclass(slots=True)
class LifeSignal:
    """Asks one researcher to end; ``wish`` tells which wish of a person's it was, None where the campaign ends."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    wish: Wish | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A researcher of the team, and what a person last wished of it."""

    view: ResearcherView
    wish: Wish = NO_WISH


@dataclass(frozen=True, slots=True)
class _Life:
    signal: LifeSignal
    task: asyncio.Task[ResearcherOutcome]


class Team:
    """Keeps the lives that run the same as what the database asks for.

    Args:
        roster: the team as the database has it now.
        begin: a researcher's life.
        settle: writes down that a researcher without a life rests as a person wished.
        stop: the campaign's stop signal.
        faults: told where the database cannot be asked for a while.
    """

    def __init__(
        self,
        roster: Callable[[], Awaitable[Sequence[Member]]],
        begin: Callable[[ResearcherView, LifeSignal], Coroutine[Any, Any, ResearcherOutcome]],
        settle: Callable[[Member], Awaitable[None]],
        stop: StopSignal,
        faults: FaultLog | None = None,
    ) -> None:
        self._faults = faults or FaultLog()
        self._roster = roster
        self._begin = begin
        self._settle = settle
        self._stop = stop
        self._changed = asyncio.Event()
        self._lives: dict[str, _Life] = {}
        self._held: set[str] = set()
        self._outcomes: dict[str, ResearcherOutcome] = {}
        self._wish_then: dict[str, int] = {}
        self.closed = False
        """Whether the team has ended, so that nobody joins it any more."""

    def look(self) -> None:
        """The roster or a wish changed."""
        self._changed.set()

    def limits_changed(self) -> None:
        """Those who rest because of a limit try again."""
        self._outcomes = {name: each for name, each in self._outcomes.items() if each.reason != "limit"}
        self._changed.set()

    def service_is_back(self) -> None:
        """Those who rest because of the model service try again."""
        if any(each.reason == "away" for each in self._outcomes.values()):
            self._outcomes = {name: each for name, each in self._outcomes.items() if each.reason != "away"}
            self._changed.set()

    async def run(self) -> list[ResearcherOutcome]:
        """Live until all came to rest by themselves and nobody is held by a person, or until the campaign ends.

        Returns:
            The outcomes of those that came to an end by themselves.
        """
        asked = asyncio.create_task(self._stop.event.wait())
        try:
            while not self._stop.event.is_set():
                self._changed.clear()
                await persist("roster", self._match, self._faults, seconds=PATIENCE_SECONDS)
                if not self._lives and not self._held:
                    break
                await self._something(asked)
            for life in self._lives.values():
                life.signal.event.set()
            if self._lives:
                await asyncio.wait([life.task for life in self._lives.values()], timeout=GRACE_SECONDS)
                self._bury()
        finally:
            self.closed = True
            asked.cancel()
            left = [life.task for life in self._lives.values()]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, asked, return_exceptions=True)
        return list(self._outcomes.values())

    async def _something(self, asked: asyncio.Task[Any]) -> None:
        """Wait until a life ends, the database changed, or the campaign is asked to end."""
        changed = asyncio.create_task(self._changed.wait())
        try:
            tasks = [life.task for life in self._lives.values()]
            await asyncio.wait([*tasks, asked, changed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
        self._bury()

    async def _match(self) -> None:
        self._held = set()
        for member in await self._roster():
            life, wish = self._lives.get(member.view.id), member.wish
            if life is not None:
                if (wish.ends or wish.holds) and (life.signal.wish is None or wish.ends):
                    self._ask(life, wish)
            elif member.view.state == "finished":
                continue
            elif wish.ends or wish.holds:
                self._outcomes.pop(member.view.id, None)
                await self._settle(member)
                if wish.holds:
                    self._held.add(member.view.id)
            elif member.view.id not in self._outcomes or wish.id > self._wish_then.get(member.view.id, 0):
                self._outcomes.pop(member.view.id, None)
                signal = LifeSignal()
                self._lives[member.view.id] = _Life(signal, asyncio.create_task(self._begin(member.view, signal)))
                self._wish_then[member.view.id] = wish.id

    def _ask(self, life: _Life, wish: Wish) -> None:
        life.signal.wish = wish
        if not life.signal.event.is_set():
            life.signal.event.set()
            asyncio.get_running_loop().call_later(GRACE_SECONDS, life.task.cancel)

    def _bury(self) -> None:
        """Take note of lives that ended. One that died of an error failed, whatever it was, and the others go on.

        Raises:
            Conflict: another controller has the researcher's sandbox.
        """
        for name, life in list(self._lives.items()):
            if life.task.done():
                del self._lives[name]
                if not life.task.cancelled():
                    outcome = _outcome(life.task)
                    if life.signal.wish is None or outcome.reason != "paused":
                        self._outcomes[name] = outcome


def _outcome(ended: asyncio.Task[ResearcherOutcome]) -> ResearcherOutcome:
    error = ended.exception()
    if error is None:
        return ended.result()
    if isinstance(error, Conflict) or not isinstance(error, Exception):
        raise error
    return ResearcherOutcome("failed", f"{type(error).__name__}: {error}")
