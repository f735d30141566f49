"""Lives side by side: they end by themselves, or after a grace once asked."""

from __future__ import annotations

import asyncio

import pytest

from aar.campaign import team
from aar.campaign.ending import Ending, StopSignal, natural_ending
from aar.campaign.team import run_team
from aar.researcher import Outcome

FINISHED = Outcome("finished", "done")


async def _finishes() -> Outcome:
    return FINISHED


def test_all_outcomes_are_returned() -> None:
    assert asyncio.run(_run([_finishes(), _finishes()], StopSignal())) == [FINISHED, FINISHED]
    assert asyncio.run(_run([], StopSignal())) == []


def test_asked_lives_end_their_turn() -> None:
    async def scene() -> list[Outcome]:
        stop = StopSignal()

        async def polite() -> Outcome:
            await stop.event.wait()
            return Outcome("paused", "")

        asyncio.get_running_loop().call_later(0.05, stop.pause, "tea")
        return await run_team([polite(), _finishes()], stop)

    assert asyncio.run(scene()) == [Outcome("paused", ""), FINISHED]


def test_a_stubborn_life_is_cut_after_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(team, "GRACE_SECONDS", 0.1)
    cut = []

    async def stubborn() -> Outcome:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.append(True)
            raise
        return FINISHED

    async def scene() -> list[Outcome]:
        stop = StopSignal()
        asyncio.get_running_loop().call_later(0.05, stop.pause, "tea")
        return await run_team([stubborn(), _finishes()], stop)

    assert asyncio.run(scene()) == [FINISHED]
    assert cut == [True]


def test_a_life_that_raises_ends_the_others() -> None:
    async def breaks() -> Outcome:
        raise RuntimeError("taken over")

    async def endless() -> Outcome:
        await asyncio.Event().wait()
        return FINISHED

    with pytest.raises(RuntimeError, match="taken over"):
        asyncio.run(_run([breaks(), endless()], StopSignal()))


@pytest.mark.parametrize(
    ("outcomes", "ending"),
    [
        ([FINISHED, FINISHED], Ending("finished", "every researcher finished")),
        ([FINISHED, Outcome("limit", "usd reached")], Ending("paused", "usd reached")),
        ([Outcome("failed", "key refused")] * 2, Ending("failed", "every researcher failed: key refused")),
        (
            [FINISHED, Outcome("failed", "boom")],
            Ending("finished", "the team is done; 1 of 2 failed: boom"),
        ),
    ],
)
def test_the_natural_ending_tells_what_happened(outcomes: list[Outcome], ending: Ending) -> None:
    assert natural_ending(outcomes) == ending


def test_the_first_pause_stays_and_a_pause_overrules_a_finish() -> None:
    stop = StopSignal()
    stop.finish("time is up")
    assert (stop.ending, stop.event.is_set(), stop.hurry.is_set()) == (Ending("finished", "time is up"), True, False)
    stop.pause("one")
    stop.pause("two")
    stop.finish("three")
    assert stop.ending == Ending("paused", "one")
    assert stop.hurry.is_set()


async def _run(lives: list[object], stop: StopSignal) -> list[Outcome]:
    return await run_team(lives, stop)  # type: ignore[arg-type]
