"""The story of a submission, as the scorer's own functions wrote it."""

from __future__ import annotations

import pytest

from aar.errors import NotFound
from aar.problems.protocol import Estimate, Problem, TaskScore
from aar.scoring import submission_queue
from aar.scoring.audits.audit_findings import record_finding
from aar.scoring.audits.protocol import AuditResult, AuditVerdict
from aar.scoring.cleanroom.clean_room import ScoringRunResult
from aar.scoring.confirmation_queue import CheckPlan, claim_check, request_check
from aar.scoring.phases import CONFIRMATION
from aar.scoring.results import score_writer
from aar.scoring.results.verdict_messages import RunFailure
from aar.scoring.submission_history import SubmissionRecord, read_submission_record
from aar.scoring.submission_status import disqualify
from aar.store.models import Submission

from .conftest import Desk

CAMPAIGN = "k3v9qd"


def told(desk: Desk, number: int) -> SubmissionRecord:
    with desk.db.reading() as session:
        return read_submission_record(session, CAMPAIGN, number)


def scored(desk: Desk, problem: Problem, value: float) -> int:
    """Measure the next submission; its id."""
    with desk.db.writing() as session:
        work = submission_queue.claim_submission(session, CAMPAIGN, domains=("a", "b"), seeds=2, secret="secret")
    for ticket in work.pending:
        trial = ScoringRunResult(TaskScore(parts={"value": value}), None, "", f"{ticket.index}" * 64, 1.5)
        with desk.db.writing() as session:
            score_writer.finish_run(session, CAMPAIGN, ticket.run_id, trial)
    estimate = Estimate(value, 0.0312, value - 0.05, value + 0.05, 2)
    with desk.db.writing() as session:
        score_writer.record_measurement(
            session, work.submission_id, estimate, seeds=2, domains=2, metric=problem.metric
        )
    return int(work.submission_id)


def test_it_tells_what_was_frozen_before_anything_was_drawn(desk: Desk) -> None:
    sent = desk.submit(desk.method("print(1)"), runs=4)
    found = told(desk, sent.number)
    assert (found.submission.digest, found.submission.identity, found.charged_runs) == (sent.digest, sent.digest, 4)
    assert (found.runs, found.estimates, found.audits, found.checks, found.same_code) == ([], [], [], [], [])
    assert found.happenings[0].kind == "submission_received"


def test_it_tells_all_that_happened_in_order(desk: Desk, problem: Problem) -> None:
    sent = desk.submit(desk.method("print(1)"))
    desk.submit(desk.method("print(2)"), researcher=2)
    submission_id = scored(desk, problem, 0.4567)
    assert submission_id == sent.id
    with desk.db.writing() as session:
        submission = session.get_one(Submission, submission_id)
        for verdict in (AuditVerdict.SKIPPED, AuditVerdict.FLAGGED):
            record_finding(session, submission, AuditResult("static", verdict, "static.seed", "run.py:3", {"line": 3}))
        check = request_check(session, CAMPAIGN, submission_id, CONFIRMATION, "a person asked", "human:ana")
    with desk.db.writing() as session:
        plan = CheckPlan(confirm_seeds=2)
        assert claim_check(session, CAMPAIGN, problem, plan, [], "secret") is not None
        disqualify(session, submission_id, "person.leak", "it knows the answers", "human:ana")
    found = told(desk, 1)
    assert [(run.phase, run.index, run.domain) for run in found.runs[:4]] == [
        ("measure", 0, "a"),
        ("measure", 1, "b"),
        ("measure", 2, "a"),
        ("measure", 3, "b"),
    ]
    confirming = [run for run in found.runs if run.phase == "confirm"]
    assert len(confirming) == 2 * len(problem.climbed_domains)
    assert [run.output_digest for run in found.runs[:4]] == [f"{index}" * 64 for index in range(4)]
    assert len({(run.seed, run.split_seed) for run in found.runs}) == len(found.runs)
    received, started = (each for each in found.happenings if each.kind in ("submission_received", "scoring_started"))
    checked = next(each for each in found.happenings if each.kind == "check_started")
    assert {run.drawn_at for run in found.runs[:4]} == {started.at}
    assert {run.drawn_at for run in confirming} == {checked.at}
    assert received.at <= started.at <= checked.at
    [estimate] = found.estimates
    assert (estimate.phase, estimate.mean, estimate.standard_error, estimate.seeds) == ("measure", 0.46, 0.03, 2)
    assert [(audit.verdict, audit.evidence) for audit in found.audits] == [
        ("skipped", {"line": 3}),
        ("flagged", {"line": 3}),
    ]
    assert [(change.new, change.by) for change in found.changes][-1] == ("disqualified", "human:ana")
    assert [(each.id, each.cause, each.by) for each in found.checks] == [(check.id, "a person asked", "human:ana")]
    assert [each.id for each in found.happenings] == sorted(each.id for each in found.happenings)
    assert {each.kind for each in found.happenings} >= {"audit_finished", "status_changed", "submission_measured"}
    assert told(desk, 2).runs == []


def test_it_names_the_same_code_and_says_how_a_run_failed(desk: Desk, problem: Problem) -> None:
    desk.submit(desk.method("print(1)"))
    scored(desk, problem, 0.4)
    desk.submit(desk.method("print(1)"), researcher=2)
    assert told(desk, 1).same_code == [2]
    assert told(desk, 2).same_code == [1]
    with desk.db.writing() as session:
        work = submission_queue.claim_submission(session, CAMPAIGN, domains=("a",), seeds=1, secret="secret")
        assert work is not None
        trial = ScoringRunResult(None, RunFailure.CRASHED, "crashed: run.py exited with code 1.\nBoom", None, 0.5)
        score_writer.finish_run(session, CAMPAIGN, work.pending[0].run_id, trial)
    [run] = told(desk, 2).runs
    assert (run.state, run.output_digest, run.seconds) == ("failed", None, 0.5)
    assert run.verdict.endswith("Boom")


def test_there_is_none_of_what_was_not_handed_in(desk: Desk) -> None:
    with pytest.raises(NotFound):
        told(desk, 7)


def test_it_names_what_differs_in_layout_and_names_alone_as_a_hint(desk: Desk) -> None:
    """Two of one shape, one of another, one of the same files and one that nobody could read."""
    for number, (code, shape) in enumerate(
        [("print(1)", "a" * 64), ("print( 1 )", "a" * 64), ("print(2)", "b" * 64), ("print(1)", "a" * 64), ("(", "")],
        start=1,
    ):
        view = desk.submit(desk.method(code), researcher=1 + number % 3)
        with desk.db.writing() as session:
            answer = AuditResult("static", AuditVerdict.PASSED, "", "nothing found", {"hits": [], "shape": shape})
            record_finding(session, session.get_one(Submission, view.id), answer)
    assert [told(desk, number).alike for number in range(1, 6)] == [[2], [1, 4], [], [2], []]
    assert [told(desk, number).same_code for number in range(1, 6)] == [[4], [], [], [1], []]
