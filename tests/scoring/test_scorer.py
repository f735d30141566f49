"""The whole way from a submission to the board, with a real queue, ledger, clean room and sandboxes."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from aar.budget.limits import Limits
from aar.errors import Conflict, LimitReached, NotFound
from aar.problems.protocol import Problem
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.scoring.results.leaderboard import read_leaderboard
from aar.scoring.submission_queue import read_queue
from aar.scoring.submissions import list_submissions
from aar.store.models import Campaign, LedgerEntry, ScoringRun

from .conftest import COPY, Desk, Serving, events

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]

CAMPAIGN = "k3v9qd"
FLIP = COPY.replace(" coinlab.noisy(given)", " 1 - coinlab.noisy(given)")


async def test_from_submission_to_board(desk: Desk, serving: Serving) -> None:
    good, bad = desk.submit(desk.method(COPY)), desk.submit(desk.method(FLIP), researcher=2)
    async with serving() as (scorer, _):
        await scorer.drain()
        first, second = await scorer.wait_for(good.number, 0), await scorer.wait_for(bad.number, 0)
    assert 0.6 < first.mean < 0.8
    assert 0.2 < second.mean < 0.4
    assert first.verdict.startswith(f"s1 measured: accuracy {first.mean:.2f} ± 0.01 (90 % interval ")
    assert "2 seeds x 2 domains" in first.verdict
    with desk.db.reading() as session:
        board = read_leaderboard(session, CAMPAIGN)
        runs = session.query(ScoringRun).all()
        entries = session.query(LedgerEntry).all()
    assert [row.submission.number for row in board] == [1, 2]
    assert {run.state for run in runs} == {"scored"}
    assert len({run.split_seed for run in runs}) == len(runs) == 8
    assert all(run.output_digest and run.seconds > 0 for run in runs)
    assert {entry.state for entry in entries} == {"settled"}
    assert sum(entry.seconds for entry in entries) == pytest.approx(sum(run.seconds for run in runs), abs=0.01)
    assert [logged.event.runs for logged in events(desk, "scoring_started")] == [4, 4]
    assert len(events(desk, "scoring_run_finished")) == 8
    assert len(events(desk, "submission_measured")) == 2


async def test_nothing_is_scored_under_another_version_of_the_problem(desk: Desk, serving: Serving) -> None:
    first = desk.submit(desk.method(COPY))
    async with serving() as (scorer, _):
        await scorer.wait_for(first.number, 60)
    desk.submit(desk.method(FLIP), researcher=2)
    with desk.db.writing() as session:
        board = [(row.submission.number, row.submission.mean) for row in read_leaderboard(session, CAMPAIGN)]
        session.get_one(Campaign, CAMPAIGN).problem_version = 7
    async with serving() as (_, service):
        with pytest.raises(Conflict, match="got version 7 of coins from its record, expected 1"):
            await asyncio.wait_for(service, 60)
    with desk.db.reading() as session:
        assert [(row.submission.number, row.submission.mean) for row in read_leaderboard(session, CAMPAIGN)] == board
        assert {run.submission_id for run in session.query(ScoringRun)} == {first.id}
        assert read_queue(session, CAMPAIGN).waiting == (2,)


async def test_a_failed_run_stops_the_others(desk: Desk, serving: Serving) -> None:
    view = desk.submit(desk.method(COPY + "1/0\n"))
    async with serving() as (scorer, _):
        shown = await scorer.wait_for(view.number, 60)
    assert shown.state == "rejected"
    assert shown.verdict.startswith("s1 rejected: run ")
    assert "ZeroDivisionError" in shown.verdict
    with desk.db.reading() as session:
        states = {run.state for run in session.query(ScoringRun)}
        entries = {entry.state for entry in session.query(LedgerEntry)}
    assert states <= {"failed", "skipped"}
    assert entries <= {"settled", "released"}


async def test_a_waiter_is_woken_and_a_timeout_shows_the_state(
    desk: Desk, serving: Serving, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problem, "run_limits", replace(problem.run_limits, seconds=3.0))
    slow = desk.submit(desk.method("import time; time.sleep(600)"))
    async with serving() as (scorer, _):
        still = await scorer.wait_for(slow.number, 0.3)
        assert still.state in ("queued", "scoring")
        ended = await asyncio.gather(*(scorer.wait_for(slow.number, 60) for _ in range(20)))
        assert {view.state for view in ended} == {"rejected"}
        assert "time limit of 3 s" in ended[0].verdict
        with pytest.raises(NotFound):
            await scorer.wait_for(99, 1)


async def test_a_submission_that_comes_later_is_found(desk: Desk, serving: Serving) -> None:
    async with serving() as (scorer, _):
        await scorer.drain()  # it has begun, and waits
        view = desk.submit(desk.method(COPY))
        assert (await scorer.wait_for(view.number, 60)).state == "measured"


async def test_a_cancelled_scorer_goes_on_where_it_was(desk: Desk, serving: Serving) -> None:
    """Cancelled again and again, as by a pause; each run is scored once, with the draws made at the start."""
    view = desk.submit(desk.method("import time; time.sleep(0.3)\n" + COPY))
    seen: dict[int, tuple[int, int, str, str | None]] = {}
    for attempt in range(20):
        async with serving() as (scorer, _):
            final = await scorer.wait_for(view.number, 0.5 * 1.4**attempt)
        with desk.db.reading() as session:
            for run in session.query(ScoringRun):
                draws = (run.seed, run.split_seed)
                assert seen.get(run.index, (*draws, "", None))[:2] == draws
                before = seen.get(run.index)
                if before is not None and before[2] == "scored":
                    assert (run.state, run.output_digest) == before[2:]
                seen[run.index] = (*draws, run.state, run.output_digest)
        if final.finished:
            break
    assert final.state == "measured"
    assert sorted(logged.event.index for logged in events(desk, "scoring_run_finished")) == [0, 1, 2, 3]
    assert len(events(desk, "submission_measured")) == 1
    with desk.db.reading() as session:
        states = [entry.state for entry in session.query(LedgerEntry)]
    assert states.count("settled") >= 4  # what a pause cut off ran, too
    assert set(states) <= {"settled", "released"}


async def test_busy_researchers_do_not_hold_up_others(desk: Desk, serving: Serving) -> None:
    for index in range(3):
        desk.submit(desk.method(f"{COPY}# {index}"), researcher=1)
    desk.submit(desk.method(f"{COPY}# other"), researcher=2)
    async with serving(parallel=1) as (scorer, _):
        await scorer.drain()
    assert [logged.event.number for logged in events(desk, "scoring_started")] == [1, 4, 2, 3]
    with desk.db.reading() as session:
        state = read_queue(session, CAMPAIGN)
    assert (state.scoring, state.waiting) == ((), ())
    assert state.run_seconds is not None


async def test_a_campaign_limit_stops_the_scorer_before_it_runs(desk: Desk, serving: Serving) -> None:
    desk.submit(desk.method(COPY))
    async with serving(Limits(core_hours=0.001)) as (_, service):
        with pytest.raises(LimitReached) as raised:
            await asyncio.wait_for(service, 30)
    assert raised.value.breach.limit == "core_hours"
    assert not events(desk, "scoring_run_finished")
    async with serving(Limits(core_hours=2.0)) as (scorer, _):
        assert (await scorer.wait_for(1, 60)).state == "measured"


async def test_a_researcher_at_its_limit_waits_and_others_go_on(desk: Desk, serving: Serving) -> None:
    limits = Limits.model_validate({"usd_per_core_hour": "60", "usd": "100", "researcher": {"usd": "5"}})
    with desk.db.writing() as session:
        session.add(
            LedgerEntry(
                request_id="spent",
                campaign_id=CAMPAIGN,
                researcher_id=f"{CAMPAIGN}-r1",
                kind="compute",
                state="settled",
                reserved_usd=Decimal("4.5"),
                usd=Decimal("4.5"),
            )
        )
    poor, other = desk.submit(desk.method(COPY)), desk.submit(desk.method(FLIP), researcher=2)
    async with serving(limits, parallel=1) as (scorer, service):
        assert (await scorer.wait_for(other.number, 60)).state == "measured"
        with pytest.raises(LimitReached, match="r1: limit usd"):
            await scorer.wait_for(poor.number, 30)
        await scorer.drain()
        assert not service.done()


async def test_the_same_code_handed_in_twice_has_one_place(desk: Desk, serving: Serving) -> None:
    desk.submit(desk.method(COPY), researcher=1)
    desk.submit(desk.method(COPY), researcher=2)
    async with serving() as (scorer, _):
        await scorer.drain()
    with desk.db.reading() as session:
        first, again = list_submissions(session, CAMPAIGN)
        board = read_leaderboard(session, CAMPAIGN)
    assert len(board) == 1
    assert (first.mean, first.seeds) == (again.mean, again.seeds)
    assert first.seeds == 4


@pytest.mark.parametrize("results", [0, 2])
async def test_a_killed_scorer_goes_on_where_it_was(
    desk: Desk, serving: Serving, clean_room: CleanRoom, tmp_path: Path, results: int
) -> None:
    """Killed while runs are under way, after so many results; its sandboxes and bundles are swept."""
    view = desk.submit(desk.method("import time; time.sleep(0.5)\n" + COPY))
    here = Path(__file__).parent
    places = (desk.db.url, str(tmp_path / "snapshots"), str(clean_room.work_dir), str(here / "coins"))
    killed = await asyncio.create_subprocess_exec(sys.executable, str(here / "serve_until_killed.py"), *places)

    def states() -> list[str]:
        with desk.db.reading() as session:
            return [run.state for run in session.query(ScoringRun)]

    while "running" not in (now := states()) or now.count("scored") < results:
        assert killed.returncode is None
        await asyncio.sleep(0.01)
        if now.count("scored") == 4:
            break
    killed.kill()
    await killed.wait()
    with desk.db.reading() as session:
        before = {run.index: (run.seed, run.split_seed, run.output_digest) for run in session.query(ScoringRun)}
    async with serving() as (scorer, _):
        final = await scorer.wait_for(view.number, 60)
    assert final.state == "measured"
    with desk.db.reading() as session:
        for run in session.query(ScoringRun):
            assert (run.seed, run.split_seed) == before[run.index][:2]
            assert before[run.index][2] in (None, run.output_digest)
        lost = [entry for entry in session.query(LedgerEntry) if entry.state == "lost"]
    assert sorted(logged.event.index for logged in events(desk, "scoring_run_finished")) == [0, 1, 2, 3]
    assert len(events(desk, "submission_measured")) == 1
    assert len(lost) <= 3
