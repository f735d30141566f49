"""A score that the problem cannot tell sets its own submission aside, and nobody else's."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from aar.errors import ProblemError
from aar.problems.protocol import Estimate, Problem, Task, TaskScore
from aar.problems.statistics import check_estimate
from aar.scoring import confirmation_queue
from aar.scoring.submissions import get_submission

from .conftest import CAMPAIGN, COPY, Desk, Serving, events

pytestmark = pytest.mark.anyio
SOUND = Estimate(0.5, 0.1, 0.3, 0.7, 4, {"d": Estimate(0.5, 0.1, 0.3, 0.7, 4, freedom=3.0)}, 3.0)
FLIPPED = COPY.replace("coinlab.noisy", "1 - coinlab.noisy")


@pytest.mark.parametrize("name", ["mean", "standard_error", "low", "high", "freedom"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "0.5", 10**400])
def test_an_estimate_holds_finite_numbers_alone(name: str, value: Any) -> None:
    assert check_estimate(SOUND) is SOUND
    if (name, value) == ("freedom", None):
        check_estimate(replace(SOUND, freedom=None))
        return
    with pytest.raises(ProblemError, match=f"pooled {name} is not a number"):
        check_estimate(replace(SOUND, **{name: value}))
    part = replace(SOUND.by_domain["d"], **{name: value})
    with pytest.raises(ProblemError, match=f"pooled {name} of d is not a number"):
        check_estimate(replace(SOUND, by_domain={"d": part}))


@pytest.mark.parametrize("wrong", [{"standard_error": -0.1}, {"freedom": 0.0}])
def test_an_error_below_zero_or_without_freedom_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ProblemError, match="expected one above zero"):
        check_estimate(replace(SOUND, **wrong))


def pooling(problem: Problem, bad: Callable[[float], Any], stage: str = "measure", below: float = 0.5) -> Any:
    """The problem's ``pool``, which does something else where the mean is low."""
    pool = problem.pool

    def changed(scores: Sequence[tuple[Task, TaskScore]]) -> Estimate:
        found = pool(scores)
        return bad(found.mean) if found.mean < below and scores[0][0].stage == stage else found

    return changed


def nan_mean(mean: float) -> Estimate:
    return Estimate(math.nan, 0.1, 0.0, 1.0, 4)


def division(mean: float) -> Estimate:
    return Estimate(mean / 0, 0.1, 0.0, 1.0, 4)


def view(desk: Desk, number: int) -> Any:
    with desk.db.reading() as session:
        return get_submission(session, CAMPAIGN, number)


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("bad", "said"), [(nan_mean, "pooled mean is not a number: got nan"), (division, "ZeroDivision")]
)
async def test_what_cannot_be_pooled_is_set_aside_and_the_others_go_on(
    desk: Desk, serving: Serving, problem: Problem, monkeypatch: pytest.MonkeyPatch, bad: Any, said: str
) -> None:
    monkeypatch.setattr(problem, "pool", pooling(problem, bad))
    desk.submit(desk.method(FLIPPED))
    desk.submit(desk.method(COPY), researcher=2)
    async with serving() as (scorer, service):
        await asyncio.wait_for(scorer.drain(), 60)
        assert not service.done()
    aside, other = view(desk, 1), view(desk, 2)
    assert (aside.state, aside.mean, other.state) == ("rejected", None, "measured")
    assert aside.verdict.startswith("s1 rejected: the problem could not pool its scores: ")
    assert said in aside.verdict
    async with serving() as (scorer, service):  # and a resume does not come back to it
        desk.submit(desk.method(COPY + "# again"), researcher=3)
        assert (await scorer.wait_for(3, 60)).state == "measured"
        assert not service.done()


@pytest.mark.bubblewrap
async def test_a_part_that_is_no_number_is_this_outputs_fault(
    desk: Desk, serving: Serving, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = problem.score

    def undefined(task: Task, output: Any) -> TaskScore:
        found = score(task, output)
        return TaskScore({"accuracy": math.nan}) if found.parts["accuracy"] < 0.5 else found

    monkeypatch.setattr(problem, "score", undefined)
    desk.submit(desk.method(FLIPPED))
    desk.submit(desk.method(COPY), researcher=2)
    async with serving() as (scorer, service):
        await asyncio.wait_for(scorer.drain(), 60)
        assert not service.done()
    assert [view(desk, number).state for number in (1, 2)] == ["rejected", "measured"]
    assert "its accuracy is not a finite number" in view(desk, 1).verdict


@pytest.mark.bubblewrap
async def test_a_confirmation_that_cannot_be_pooled_ends_itself_alone(
    desk: Desk, serving: Serving, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problem, "pool", pooling(problem, nan_mean, "confirm"))
    monkeypatch.setattr(problem, "sealed_noise", 0.9)
    desk.submit(desk.method(COPY))
    async with serving() as (scorer, service):
        submission = await scorer.wait_for(1, 60)
        with desk.db.writing() as session:
            confirmation_queue.request_check(session, CAMPAIGN, submission.id, "confirmation", "", "human:ana")
        assert await asyncio.wait_for(scorer.finish(2, 0), 60) == ""
        assert not service.done()
    with desk.db.reading() as session:
        # It is among the first two at the end still, and not asked for in each round.
        assert [check.state for check in confirmation_queue.list_checks(session, CAMPAIGN)] == ["failed"]
    assert view(desk, 1).status == "measured"
    assert view(desk, 1).verdict.endswith("The measured score stays valid.")
    outcomes = [each.event.outcome for each in events(desk, "check_finished")]
    assert outcomes[0].startswith("could not be confirmed: the problem could not pool its scores: pooled mean is no")
    assert [each.event.number for each in events(desk, "problem_failed")] == [1]
