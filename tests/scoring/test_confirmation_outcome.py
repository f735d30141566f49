"""Confirmations and transfer runs, from the request to the board, with real sandboxes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aar.budget.limits import Limits
from aar.errors import Conflict
from aar.forum.search import list_posts
from aar.problems.protocol import Problem, Task
from aar.scoring import confirmation_queue
from aar.scoring.audits.audit_findings import latest_findings
from aar.scoring.audits.score_audits import CoordinatesAudit, TeacherAudit
from aar.scoring.cleanroom.clean_room import CleanRoom
from aar.scoring.confirmation_queue import CheckPlan
from aar.scoring.results.leaderboard import read_leaderboard
from aar.scoring.submission_status import reinstate, status_history
from aar.scoring.submissions import get_submission
from aar.store.models import LedgerEntry, ScoringRun, StageEstimate, SubmissionCheck

from .audits_for_tests import LastWord
from .conftest import CAMPAIGN, COPY, Desk, Serving, events

pytestmark = [pytest.mark.anyio, pytest.mark.bubblewrap]


def ask(desk: Desk, submission_id: int, kind: str = "confirmation") -> confirmation_queue.CheckView:
    with desk.db.writing() as session:
        return confirmation_queue.request_check(session, CAMPAIGN, submission_id, kind, "a test asks", "human:ana")


async def done(desk: Desk, seconds: float = 120) -> None:
    """Wait until no check is open."""
    async with asyncio.timeout(seconds):
        while True:
            with desk.db.reading() as session:
                if not confirmation_queue.count_open_checks(session, CAMPAIGN):
                    return
            await asyncio.sleep(0.05)


def view(desk: Desk, number: int = 1) -> Any:
    with desk.db.reading() as session:
        return get_submission(session, CAMPAIGN, number)


async def test_a_confirmation_bears_a_score_out(desk: Desk, serving: Serving) -> None:
    desk.submit(desk.method(COPY))
    async with serving(audits=[TeacherAudit()]) as (scorer, _):
        before = await scorer.wait_for(1, 60)
        asked = ask(desk, before.id)
        assert ask(desk, before.id) == asked  # the same one while it is open
        await done(desk)
    after = view(desk)
    assert (after.status, after.mean, after.seeds) == ("confirmed", before.mean, before.seeds)
    assert after.verdict.splitlines()[0] == before.verdict.splitlines()[0]
    assert "Confirmed: fresh seeds on the sealed split support the score." in after.verdict
    with desk.db.reading() as session:
        runs = session.query(ScoringRun).all()
        estimates = {row.stage: row for row in session.query(StageEstimate).filter_by(submission_id=before.id)}
        (row,) = read_leaderboard(session, CAMPAIGN)
        (finding,) = latest_findings(session, [before.id])[before.id]
        assert [change.new for change in status_history(session, before.id)] == ["claimed", "measured", "confirmed"]
        paid = {entry.researcher_id for entry in session.query(LedgerEntry)}
    assert sorted({run.stage for run in runs}) == ["confirm", "measure", "permuted"]
    assert len({run.split_seed for run in runs}) == len({run.seed for run in runs}) == len(runs) == 12
    assert set(estimates) == {"confirm", "permuted"}
    assert abs(estimates["permuted"].mean - 0.5) < 0.1 < estimates["confirm"].mean - 0.5
    assert (row.score, row.provisional) == (round(estimates["confirm"].mean, 2), False)
    assert (finding.audit, finding.verdict) == ("teacher", "passed")
    assert paid == {f"{CAMPAIGN}-r1", None}
    (finished,) = events(desk, "check_finished")
    assert (finished.event.outcome, finished.event.score) == ("confirmed", row.score)
    assert "permuted" not in after.verdict  # no score of the sealed or spoilt splits reaches the author
    assert [check.state for check in listed(desk)] == ["done"]


def listed(desk: Desk) -> list[confirmation_queue.CheckView]:
    with desk.db.reading() as session:
        return confirmation_queue.list_checks(session, CAMPAIGN)


async def test_a_score_that_falls_on_the_sealed_split_is_refuted(
    desk: Desk, serving: Serving, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problem, "sealed_noise", 0.45)
    desk.submit(desk.method(COPY))
    desk.submit(desk.method(COPY), researcher=2)
    desk.submit(desk.method(COPY + "# another"), researcher=3)
    async with serving() as (scorer, _):
        await scorer.drain()
        ask(desk, view(desk, 2).id)  # of the same code the first is checked
        await done(desk)
    assert [view(desk, number).status for number in (1, 2, 3)] == ["refuted", "refuted", "measured"]
    assert "Refuted:" in view(desk, 1).verdict
    with desk.db.reading() as session:
        assert [row.submission.number for row in read_leaderboard(session, CAMPAIGN)] == [3]
        (check,) = session.query(SubmissionCheck).all()
        (post,) = list_posts(session, CAMPAIGN)
    assert (check.submission_id, check.by) == (view(desk, 1).id, "human:ana")
    assert (post.author, post.by_human, post.kind, post.submission_number) == ("scorer", False, "error", 1)
    assert "A person can reinstate it" in post.body


async def test_a_crash_in_a_check_never_rejects(
    desk: Desk, serving: Serving, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the stage is to be seen from inside, so the data is taken away."""
    desk.submit(desk.method(COPY))
    async with serving() as (scorer, _):
        measured = await scorer.wait_for(1, 60)
    monkeypatch.setattr(problem, "prepare", _without_data(problem))
    ask(desk, measured.id)
    async with serving(audits=[TeacherAudit()]):
        await done(desk)
    after = view(desk)
    assert (after.state, after.status, after.mean) == ("measured", "refuted", measured.mean)
    assert [check.state for check in listed(desk)] == ["failed"]
    (finished,) = events(desk, "check_finished")
    assert finished.event.outcome.startswith("did not run on the sealed split (")
    with desk.db.reading() as session:
        states = {run.state for run in session.query(ScoringRun).filter(ScoringRun.check_id.is_not(None))}
    assert states <= {"failed", "skipped"}


def _without_data(problem: Problem) -> Any:
    prepare = type(problem).prepare

    def bare(domain: str, stage: Any, split_seed: int, into: Path) -> Any:
        task = prepare(problem, domain, stage, split_seed, into)
        if stage == "confirm":
            (task.public / "noisy.npy").unlink()
        return task

    return bare


async def test_a_crash_on_spoilt_labels_alone_is_for_the_audit(
    desk: Desk, serving: Serving, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    corrupt = type(problem).corrupt

    def lose(task: Any, corruption: Any, seed: int) -> None:
        corrupt(problem, task, corruption, seed)
        (task.public / "noisy.npy").unlink()

    monkeypatch.setattr(problem, "corrupt", lose)
    desk.submit(desk.method(COPY))
    async with serving(audits=[TeacherAudit()]) as (scorer, _):
        ask(desk, (await scorer.wait_for(1, 60)).id)
        await done(desk)
    assert view(desk).status == "confirmed"
    with desk.db.reading() as session:
        (row,) = read_leaderboard(session, CAMPAIGN)
        assert {estimate.stage for estimate in session.query(StageEstimate)} == {"confirm"}
    assert row.labels == ("flagged: teacher.unanswered",)


async def test_who_would_take_first_place_is_confirmed_unasked(desk: Desk, serving: Serving) -> None:
    desk.submit(desk.method(COPY))
    plan = CheckPlan(confirm_seeds=1, leaders=True)
    async with serving(plan=plan) as (scorer, _):
        await scorer.drain()
        await done(desk)
        desk.submit(desk.method(COPY.replace("coinlab.noisy", "1 - coinlab.noisy")), researcher=2)
        await scorer.drain()
        await done(desk)
    assert [(check.number, check.by) for check in listed(desk)] == [(1, "scorer")]
    assert view(desk).status == "confirmed"


async def test_the_end_settles_the_top_and_runs_the_winners_elsewhere(desk: Desk, serving: Serving) -> None:
    for index in range(3):
        desk.submit(desk.method(f"{COPY}# {index}"), researcher=1 + index)
    async with serving(plan=CheckPlan(confirm_seeds=1, audit_seeds=1)) as (scorer, _):
        await scorer.drain()
        assert await scorer.finish(2, 1) == ""
        assert await scorer.finish(2, 1) == ""  # a second end finds nothing to do
    made = listed(desk)
    assert {check.state for check in made} == {"done"}
    assert [check.kind for check in made[:2]] == ["confirmation"] * 2  # a third moves up if one falls
    assert [check.kind for check in made].count("transfer") == 1
    with desk.db.reading() as session:
        assert [row.submission.status for row in read_leaderboard(session, CAMPAIGN)][:2] == ["confirmed"] * 2
        elsewhere = session.query(ScoringRun).filter(ScoringRun.stage == "transfer").all()
    assert [run.domain for run in elsewhere] == ["edge"]


async def test_checks_that_do_not_fit_the_budget_stay_queued(desk: Desk, serving: Serving) -> None:
    desk.submit(desk.method(COPY))
    async with serving() as (scorer, _):
        await scorer.drain()
    async with serving(Limits(core_hours=0.001)) as (scorer, service):
        left = await asyncio.wait_for(scorer.finish(5, 3), 30)
        assert not service.done()
    assert "limit core_hours" in left
    assert left.startswith("1 of the confirmations")
    async with serving() as (scorer, _):
        await done(desk)
    assert view(desk).status == "confirmed"


async def test_an_audit_can_disqualify_at_a_confirmation_and_a_person_stands_above_it(
    desk: Desk, serving: Serving
) -> None:
    desk.submit(desk.method(COPY + "# cheat\n"))
    async with serving(audits=[LastWord()]) as (scorer, _):
        ask(desk, (await scorer.wait_for(1, 60)).id)
        await done(desk)
        assert (view(desk).disqualified, view(desk).mean) == ("word.cheat", None)
        with pytest.raises(Conflict, match="disqualified"):
            ask(desk, view(desk).id)
        with desk.db.writing() as session:
            reinstate(session, view(desk).id, "It jests.", "human:ana")
        ask(desk, view(desk).id)
        await done(desk)
    assert (view(desk).disqualified, view(desk).status) == ("", "confirmed")
    with desk.db.reading() as session:
        changes = [change.new for change in status_history(session, view(desk).id)]
        confirm = session.query(StageEstimate).filter(StageEstimate.stage == "confirm").one()
    assert changes == ["claimed", "measured", "confirmed", "disqualified", "reinstated"]
    assert confirm.seeds == 4  # the second confirmation adds seeds to the first


@pytest.mark.parametrize("results", [0, 3])
async def test_a_confirmation_survives_a_kill(
    desk: Desk, serving: Serving, clean_room: CleanRoom, tmp_path: Path, results: int
) -> None:
    desk.submit(desk.method("import time; time.sleep(0.3)\n" + COPY))
    async with serving() as (scorer, _):
        submission = await scorer.wait_for(1, 60)
    ask(desk, submission.id)
    here = Path(__file__).parent
    places = (desk.db.url, str(tmp_path / "snapshots"), str(clean_room.work_dir), str(here / "coins"))
    killed = await asyncio.create_subprocess_exec(sys.executable, str(here / "serve_until_killed.py"), *places)

    def rows() -> dict[tuple[str, int], Any]:
        with desk.db.reading() as session:
            found = session.query(ScoringRun).filter(ScoringRun.check_id.is_not(None))
            return {(run.stage, run.index): run for run in found}

    def states() -> list[str]:
        return [run.state for run in rows().values()]

    while "running" not in (now := states()) or now.count("scored") < results:
        assert killed.returncode is None
        await asyncio.sleep(0.01)
    killed.kill()
    await killed.wait()
    before = rows()
    assert len(before) == 8
    async with serving(audits=[TeacherAudit()]):
        await done(desk)
    for key, run in rows().items():
        assert (run.seed, run.split_seed, run.state) == (before[key].seed, before[key].split_seed, "scored")
        assert before[key].output_digest in (None, run.output_digest)
    assert view(desk).status == "confirmed"
    assert len(events(desk, "scoring_run_finished")) == 4 + 8
    assert len(events(desk, "check_started")) == len(events(desk, "check_finished")) == 1


async def test_other_coordinates_are_tried_on_the_confirmations_own_splits(
    desk: Desk, serving: Serving, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the two scores differ by what the coordinates do and by nothing else."""
    met: list[tuple[str, str, int]] = []

    def renumber(task: Task, seed: int) -> None:
        met.append((task.stage, task.domain, task.split_seed))
        path = task.public / "noisy.npy"
        np.save(path, np.load(path).astype(np.int8))  # the same flips, otherwise written

    desk.submit(desk.method(COPY))
    async with serving(audits=[CoordinatesAudit()], plan=CheckPlan(confirm_seeds=3, audit_seeds=2)) as (scorer, _):
        first = await scorer.wait_for(1, 60)
        ask(desk, first.id)
        await done(desk)  # a problem that offers none is not asked
        monkeypatch.setattr(problem, "change_coordinates", renumber, raising=False)
        ask(desk, first.id)
        await done(desk)
    with desk.db.reading() as session:
        drawn = {
            stage: {(run.domain, run.seed, run.split_seed) for run in session.query(ScoringRun).filter_by(stage=stage)}
            for stage in ("measure", "confirm", "coordinates")
        }
        findings = latest_findings(session, [first.id])[first.id]
    assert len(drawn["coordinates"]) == len(met) == 4
    assert drawn["coordinates"] < drawn["confirm"]
    assert not drawn["confirm"] & drawn["measure"]
    assert {stage for stage, _, _ in met} == {"confirm"}
    assert [(finding.audit, finding.verdict) for finding in findings] == [("coordinates", "passed")]
