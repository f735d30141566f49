"""Lives side by side: begun, asked and ended as people wish, with a grace to end a turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import pytest

from aar.campaign.controller import researcher_pool
from aar.campaign.controller.researcher_pool import TeamMember, TeamReconciler
from aar.campaign.controller.service_restarts import FaultBuffer
from aar.campaign.controller.supervisor import ResearcherSignal
from aar.campaign.lifecycle import CampaignEnding, StopSignal, ending_of_outcomes
from aar.campaign.steering import NO_COMMAND, DesiredState
from aar.campaign.views import ResearcherView
from aar.errors import Conflict, DatabaseError
from aar.researcher.context import ResearcherOutcome

from ...waiting import until

FINISHED = ResearcherOutcome("finished", "done")
Life = Callable[[ResearcherSignal], Awaitable[ResearcherOutcome]]


class Scene:
    """A team whose rows are kept here: what a database would hold, and the lives that are to be lived."""

    def __init__(self, *lives: Life) -> None:
        self.stop = StopSignal()
        self.lives = list(lives)
        self.states = ["created"] * len(lives)
        self.wishes: dict[int, DesiredState] = {}
        self.begun: list[int] = []
        self.reads = 0
        self.faults = FaultBuffer()
        self.unreadable: list[Exception] = []
        self.team = TeamReconciler(self._roster, self._begin, self._settle, self.stop, self.faults)

    def send_command(self, index: int, command: str) -> None:
        newest = max((wish.id for wish in self.wishes.values()), default=0)
        self.wishes[index] = DesiredState(command, f"{command} asked", newest + 1)
        self.team.notify_change()

    async def look_again(self) -> None:
        """Until the team has read its roster anew and acted on it."""
        for _ in range(2):
            awaited = self.reads + 1
            self.team.notify_change()
            await until(partial(self._has_read, awaited))

    def _has_read(self, times: int) -> bool:
        return self.reads >= times

    def join(self, life: Life) -> None:
        self.lives.append(life)
        self.states.append("created")
        self.team.notify_change()

    async def _roster(self) -> Sequence[TeamMember]:
        self.reads += 1
        if self.unreadable:
            raise self.unreadable.pop()
        return [
            TeamMember(_view(index, state), self.wishes.get(index, NO_COMMAND))
            for index, state in enumerate(self.states)
        ]

    async def _begin(self, view: ResearcherView, signal: ResearcherSignal) -> ResearcherOutcome:
        self.begun.append(view.index)
        outcome = await self.lives[view.index](signal)
        ends = signal.desired is not None and signal.desired.is_ended
        self.states[view.index] = "finished" if ends else outcome.reason
        return outcome

    async def _settle(self, member: TeamMember) -> None:
        self.states[member.view.index] = "finished" if member.desired.is_ended else "paused"


def _view(index: int, state: str) -> ResearcherView:
    return ResearcherView(f"c-r{index}", "c", index, f"r{index}", "d", "Look.", "other", "m", state, "", "", 0.0)


async def _finishes(_signal: ResearcherSignal) -> ResearcherOutcome:
    return FINISHED


async def _polite(signal: ResearcherSignal) -> ResearcherOutcome:
    await signal.event.wait()
    return ResearcherOutcome("paused", "")


def test_all_outcomes_are_returned() -> None:
    assert asyncio.run(Scene(_finishes, _finishes).team.run()) == [FINISHED, FINISHED]
    assert asyncio.run(Scene().team.run()) == []


def test_a_roster_that_cannot_be_read_for_a_moment_is_read_again_and_noted() -> None:
    scene = Scene(_finishes)
    scene.unreadable.append(DatabaseError("locked"))
    assert asyncio.run(scene.team.run()) == [FINISHED]
    assert [(each.service, each.error) for each in scene.faults.drain()] == [("roster", "locked")]  # type: ignore[union-attr]


def test_asked_lives_end_their_turn() -> None:
    async def act() -> list[ResearcherOutcome]:
        scene = Scene(_polite, _finishes)
        asyncio.get_running_loop().call_later(0.05, scene.stop.pause, "tea")
        return await scene.team.run()

    assert sorted(each.reason for each in asyncio.run(act())) == ["finished", "paused"]


def test_a_stubborn_life_is_cut_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(researcher_pool, "GRACE_SECONDS", 0.1)
    cut = []

    async def stubborn(_signal: ResearcherSignal) -> ResearcherOutcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.append(True)
            raise
        return FINISHED

    async def act() -> list[ResearcherOutcome]:
        scene = Scene(stubborn, _finishes)
        asyncio.get_running_loop().call_later(0.05, scene.stop.pause, "tea")
        return await scene.team.run()

    async def act_alone() -> list[ResearcherOutcome]:
        scene = Scene(stubborn)
        asyncio.get_running_loop().call_later(0.05, scene.send_command, 0, "stop")
        return await scene.team.run()

    assert asyncio.run(act()) == [FINISHED]
    assert asyncio.run(act_alone()) == []
    assert cut == [True, True]


def test_a_life_that_meets_another_controller_ends_the_others() -> None:
    async def breaks(_signal: ResearcherSignal) -> ResearcherOutcome:
        raise Conflict("taken over")

    with pytest.raises(Conflict, match="taken over"):
        asyncio.run(Scene(breaks, _polite).team.run())


def test_a_life_that_dies_of_anything_else_failed_and_the_others_go_on() -> None:
    async def breaks(_signal: ResearcherSignal) -> ResearcherOutcome:
        raise OSError(24, "Too many open files")

    outcomes = asyncio.run(Scene(breaks, _finishes).team.run())
    assert sorted(each.reason for each in outcomes) == ["failed", "finished"]
    assert "Too many open files" in next(each.detail for each in outcomes if each.reason == "failed")


def test_one_is_paused_while_the_other_works_and_goes_on_when_let() -> None:
    async def act() -> Scene:
        scene = Scene(_polite, _polite)
        running = asyncio.create_task(scene.team.run())
        await until(lambda: scene.begun == [0, 1])
        scene.send_command(0, "pause")
        await until(lambda: scene.states[0] == "paused")
        await scene.look_again()
        assert scene.begun == [0, 1]
        scene.send_command(0, "resume")
        await until(lambda: scene.begun == [0, 1, 0])
        scene.stop.finish("enough")
        await running
        return scene

    assert asyncio.run(act()).begun == [0, 1, 0]


def test_a_team_whose_last_one_is_held_waits_for_it() -> None:
    async def act() -> list[ResearcherOutcome]:
        scene = Scene(_finishes)
        scene.send_command(0, "pause")
        running = asyncio.create_task(scene.team.run())
        await until(lambda: scene.states[0] == "paused")
        await scene.look_again()
        assert not running.done()
        assert scene.begun == []
        scene.send_command(0, "resume")
        return await running

    assert asyncio.run(act()) == [FINISHED]


def test_newcomers_begin_and_the_removed_never_come_back() -> None:
    async def act() -> Scene:
        scene = Scene(_polite)
        running = asyncio.create_task(scene.team.run())
        await until(lambda: scene.begun == [0])
        scene.join(_polite)
        await until(lambda: scene.begun == [0, 1])
        scene.send_command(0, "remove")
        await until(lambda: scene.states[0] == "finished")
        scene.send_command(1, "stop")
        await running
        assert scene.team.closed
        return scene

    scene = asyncio.run(act())
    assert (scene.begun, scene.states) == ([0, 1], ["finished", "finished"])


def test_who_rests_for_a_limit_tries_again_under_another_one() -> None:
    async def act() -> list[int]:
        async def limited(_signal: ResearcherSignal) -> ResearcherOutcome:
            return ResearcherOutcome("limit", "usd reached")

        scene = Scene(limited, _polite)
        running = asyncio.create_task(scene.team.run())
        await until(lambda: scene.states[0] == "limit")
        await scene.look_again()
        assert scene.begun.count(0) == 1
        scene.lives[0] = _finishes
        scene.team.limits_changed()
        await until(lambda: scene.states[0] == "finished")
        scene.send_command(1, "stop")
        assert await running == [FINISHED]
        return scene.begun

    assert asyncio.run(act()) == [0, 1, 0]


def test_a_wish_that_changed_while_a_life_was_ending_holds() -> None:
    async def act() -> None:
        let_end = asyncio.Event()

        async def slow(signal: ResearcherSignal) -> ResearcherOutcome:
            await signal.event.wait()
            await let_end.wait()
            return ResearcherOutcome("paused", "")

        scene = Scene(slow)
        running = asyncio.create_task(scene.team.run())
        await until(lambda: scene.begun == [0])
        scene.send_command(0, "pause")
        await scene.look_again()
        scene.wishes[0] = replace(scene.wishes[0], command="stop")
        await scene.look_again()
        let_end.set()
        assert await running == []
        assert scene.states == ["finished"]

    asyncio.run(act())


@pytest.mark.parametrize(
    ("outcomes", "ending"),
    [
        ([FINISHED, FINISHED], CampaignEnding("finished", "every researcher finished")),
        ([FINISHED, ResearcherOutcome("limit", "usd reached")], CampaignEnding("paused", "usd reached")),
        (
            [ResearcherOutcome("failed", "key refused")] * 2,
            CampaignEnding("failed", "every researcher failed: key refused"),
        ),
        (
            [FINISHED, ResearcherOutcome("failed", "boom")],
            CampaignEnding("finished", "the team is done; 1 of 2 failed: boom"),
        ),
    ],
)
def test_the_natural_ending_tells_what_happened(outcomes: list[ResearcherOutcome], ending: CampaignEnding) -> None:
    assert ending_of_outcomes(outcomes) == ending


def test_the_first_pause_stays_and_a_pause_overrules_a_finish() -> None:
    stop = StopSignal()
    stop.finish("time is up")
    assert (stop.ending, stop.event.is_set(), stop.hurry.is_set()) == (
        CampaignEnding("finished", "time is up"),
        True,
        False,
    )
    stop.pause("one")
    stop.pause("two")
    stop.finish("three")
    assert stop.ending == CampaignEnding("paused", "one")
    assert stop.hurry.is_set()
