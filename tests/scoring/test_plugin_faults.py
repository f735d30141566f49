"""A problem whose own code hangs, exits or raises over one submission: it is set aside by name, and the rest go on."""

from __future__ import annotations

import asyncio
import math
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from aar.errors import DataMissing, ProblemError
from aar.problems.plugin_calls import call_plugin_sync
from aar.problems.protocol import Estimate, Problem
from aar.problems.registry import find_problem
from aar.readmodels.alerts import list_alerts
from aar.scoring import confirmation_queue
from aar.scoring.submissions import get_submission

from .conftest import CAMPAIGN, COPY, Desk, Serving, events
from .test_finalizer import pooling

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]
FLIPPED = COPY.replace("coinlab.noisy", "1 - coinlab.noisy")
MISBEHAVING = """
import os as _os, time as _time
from aar.problems.protocol import CallLimits as _Limits
Coins.call_limits = _Limits(seconds={seconds})
_sound = Coins.score


def _score(self, task, output):
    found = _sound(self, task, output)
    if found.parts["accuracy"] < 0.5:
        {what}
    return found


Coins.score = _score
"""


@pytest.fixture
def problem(request: pytest.FixtureRequest, tmp_path: Path) -> Problem:
    """A copy of the coins, whose grading misbehaves over guesses that are mostly wrong."""
    folder = tmp_path / "coins"
    shutil.copytree(Path(__file__).parent / "coins", folder)
    source = folder / "problem.py"
    what, seconds = getattr(request, "param", ("raise ProblemError('a fold is empty')", 60))
    source.write_text(
        source.read_text() + "\nfrom aar.errors import ProblemError\n" + MISBEHAVING.format(what=what, seconds=seconds)
    )
    made = find_problem(folder)
    call_plugin_sync(made, "check_data")  # so that short limits bound the calls and not the first import
    return made


def view(desk: Desk, number: int) -> Any:
    with desk.db.reading() as session:
        return get_submission(session, CAMPAIGN, number)


@pytest.mark.parametrize(
    ("problem", "told", "said"),
    [
        (("_time.sleep(600)", 3), "grading did not finish", "score took longer than 3 s"),
        (("_os._exit(0)", 60), "grading did not finish", "score ended its process"),
        (("raise SystemExit", 60), "not in the format", "score raised SystemExit (problem.py:"),
        (("raise ProblemError('a fold is empty')", 60), "not in the format", "a fold is empty (problem.py:"),
        (("return 'high'", 60), "grading did not finish", "returned a str, expected a TaskScore"),
    ],
    indirect=["problem"],
    ids=["hang", "end", "exit", "error", "rubbish"],
)
async def test_one_submission_is_set_aside_and_the_others_go_on(
    desk: Desk, serving: Serving, told: str, said: str
) -> None:
    desk.submit(desk.method(FLIPPED))
    desk.submit(desk.method(COPY), researcher=2)
    async with serving() as (scorer, service):
        await asyncio.wait_for(scorer.drain(), 60)
        assert not service.done()
    aside, other = view(desk, 1), view(desk, 2)
    assert (aside.state, other.state) == ("rejected", "measured")
    assert told in aside.verdict
    noted = [each.event for each in events(desk, "problem_failed")]
    assert {each.number for each in noted} == {1}
    assert said in noted[0].error
    with desk.db.reading() as session:
        shown = [each.text for each in list_alerts(session, CAMPAIGN) if "s1 set aside: " in each.text]
    assert len(shown) >= 1
    assert said in shown[0]


@pytest.mark.parametrize("problem", [("raise OutputRejected('line 3: caf\\udce9\\0')", 60)], indirect=True)
async def test_a_rejection_may_quote_bytes_that_are_no_text(desk: Desk, serving: Serving) -> None:
    desk.submit(desk.method(FLIPPED))
    desk.submit(desk.method(COPY), researcher=2)
    async with serving() as (scorer, _):
        await asyncio.wait_for(scorer.drain(), 60)
    assert (view(desk, 1).state, view(desk, 2).state) == ("rejected", "measured")
    assert "line 3: caf\ufffd" in view(desk, 1).verdict


@pytest.mark.parametrize("problem", [("(HERE / 'hangs').touch(); _time.sleep(600)", 600)], indirect=True)
async def test_a_pause_is_obeyed_while_the_problem_hangs(desk: Desk, serving: Serving, tmp_path: Path) -> None:
    desk.submit(desk.method(FLIPPED))
    async with serving() as (_, _):
        async with asyncio.timeout(60):
            while not (tmp_path / "coins" / "hangs").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        begun = time.monotonic()
    assert time.monotonic() - begun < 60
    assert view(desk, 1).state == "scoring"


async def test_splits_that_cannot_be_prepared_set_one_submission_aside(
    desk: Desk, serving: Serving, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, asked = problem.prepare, []

    def odd(domain: str, stage: Any, split_seed: int, into: Path) -> Any:
        asked.append(split_seed)
        if split_seed == asked[0]:
            raise ZeroDivisionError
        return prepare(domain, stage, split_seed, into)

    monkeypatch.setattr(problem, "prepare", odd)
    desk.submit(desk.method(COPY))
    desk.submit(desk.method(COPY + "# another"), researcher=2)
    async with serving() as (scorer, service):
        await asyncio.wait_for(scorer.drain(), 60)
        assert not service.done()
    assert asked.count(asked[0]) == 2  # it was tried again
    assert (view(desk, 1).state, view(desk, 2).state) == ("rejected", "measured")
    assert "the problem's own code failed as it prepared the data" in view(desk, 1).verdict
    assert [each.event.number for each in events(desk, "problem_failed")] == [1]


async def test_a_problem_that_can_prepare_nothing_stops_the_scorer_and_rejects_nobody(
    desk: Desk, serving: Serving, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.submit(desk.method(COPY))
    desk.submit(desk.method(COPY + "# another"), researcher=2)
    with monkeypatch.context() as broken:
        broken.setattr(problem, "prepare", lambda *_: 1 / 0)
        async with serving() as (_, service):
            with pytest.raises(ProblemError, match=r"can prepare no split of .*: 4 in a row .* raised ZeroDivision"):
                await asyncio.wait_for(service, 60)
    assert {view(desk, number).state for number in (1, 2)} <= {"scoring", "queued"}
    async with serving() as (scorer, service):
        await asyncio.wait_for(scorer.drain(), 60)
        assert not service.done()
    assert [view(desk, number).state for number in (1, 2)] == ["measured", "measured"]


async def test_a_confirmation_whose_splits_cannot_be_prepared_refutes_nobody(
    desk: Desk, serving: Serving, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = problem.prepare

    def odd(domain: str, stage: Any, split_seed: int, into: Path) -> Any:
        return prepare(domain, stage, split_seed, into) if stage != "confirm" else 1 / 0

    monkeypatch.setattr(problem, "prepare", odd)
    desk.submit(desk.method(COPY))
    async with serving() as (scorer, service):
        submission = await scorer.wait_for(1, 60)
        with desk.db.writing() as session:
            confirmation_queue.request_check(session, CAMPAIGN, submission.id, "confirmation", "", "human:ana")
        await asyncio.wait_for(scorer.finish(0, 0), 60)
        assert not service.done()
    assert view(desk, 1).status == "measured"
    [finished] = events(desk, "check_finished")
    assert finished.event.outcome.startswith("could not be confirmed: the problem's own code failed as it prepared")


async def test_a_measurement_that_no_longer_pools_does_not_end_a_confirmation(
    desk: Desk, serving: Serving, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.submit(desk.method(COPY))
    async with serving() as (scorer, service):
        submission = await scorer.wait_for(1, 60)
        monkeypatch.setattr(
            problem, "pool", pooling(problem, lambda _: Estimate(math.nan, 0.1, 0.0, 1.0, 4), "measure", below=2.0)
        )
        with desk.db.writing() as session:
            confirmation_queue.request_check(session, CAMPAIGN, submission.id, "confirmation", "", "human:ana")
        await asyncio.wait_for(scorer.finish(0, 0), 60)
        assert not service.done()
    with desk.db.reading() as session:
        assert [check.state for check in confirmation_queue.list_checks(session, CAMPAIGN)] == ["done"]
    assert view(desk, 1).status == "confirmed"


async def test_data_that_is_gone_stops_the_scorer_and_rejects_nobody(
    desk: Desk, serving: Serving, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> Any:
        raise DataMissing("the flips are absent", "Copy them again")

    monkeypatch.setattr(problem, "prepare", gone)
    desk.submit(desk.method(COPY))
    async with serving() as (_, service):
        with pytest.raises(DataMissing, match="the flips are absent"):
            await asyncio.wait_for(service, 60)
    assert view(desk, 1).state == "scoring"
