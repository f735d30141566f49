"""Verdicts, pooling over repeated code, and the board, on rows that the scorer's own functions wrote."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from aar.errors import ProblemError
from aar.problems.protocol import Estimate, Metric, TaskScore
from aar.scoring import submission_queue
from aar.scoring.cleanroom.clean_room import ScoringRunResult
from aar.scoring.results import score_writer
from aar.scoring.results.leaderboard import read_leader, read_leaderboard
from aar.scoring.results.verdict_messages import RunFailure
from aar.scoring.submissions import get_submission
from aar.store.event_log import read_events
from aar.store.models import ScoringRun

from ..conftest import Desk

CAMPAIGN = "k3v9qd"
PGR = Metric(name="PGR", higher_is_better=True, ceiling=1.0)
LOSS = Metric(name="loss", higher_is_better=False, ceiling=0.0)


def estimate_of(values: list[float], error: float = 0.03) -> Estimate:
    mean = statistics.fmean(values)
    return Estimate(mean, error, mean - 0.05, mean + 0.05, len(values), {"a": Estimate(mean, error, 0, 1, 1)})


def score(desk: Desk, value: float, metric: Metric = PGR, fail_at: int | None = None) -> int:
    """Claim the next submission, give every run ``value`` and close it; returns its number."""
    with desk.db.writing() as session:
        work = submission_queue.claim_submission(session, CAMPAIGN, domains=("a", "b"), seeds=2, secret="secret")
    for ticket in work.pending:
        trial = ScoringRunResult(TaskScore(parts={"value": value}), None, "", "f" * 64, 1.5)
        if ticket.index == fail_at:
            trial = ScoringRunResult(None, RunFailure.CRASHED, "crashed: run.py exited with code 1.\nBoom", None, 0.5)
        with desk.db.writing() as session:
            score_writer.finish_run(session, CAMPAIGN, ticket.run_id, trial)
        if ticket.index == fail_at:
            with desk.db.writing() as session:
                score_writer.reject_submission(session, work.submission_id)
            return int(work.number)
    with desk.db.writing() as session:
        pooled = score_writer.read_pooled_scores(session, work.submission_id)
        estimate = estimate_of([each.parts["value"] for _, each in pooled.scores])
        score_writer.record_measurement(
            session, work.submission_id, estimate, seeds=pooled.seeds, domains=2, metric=metric
        )
    return int(work.number)


def view(desk: Desk, number: int) -> Any:
    with desk.db.reading() as session:
        return get_submission(session, CAMPAIGN, number)


def test_a_measured_submission_says_its_score_and_place(desk: Desk) -> None:
    desk.submit(desk.method("print(1)"), researcher=1)
    score(desk, 0.46)
    desk.submit(desk.method("print(2)"), researcher=2)
    score(desk, 0.4149)
    first, second = view(desk, 1), view(desk, 2)
    assert (
        first.verdict == "s1 measured: PGR 0.46 ± 0.03 (90 % interval 0.41 to 0.51, 2 seeds x 2 domains). "
        "Rank 1 of 1, until a confirmation on sealed data supports it."
    )
    assert second.verdict.endswith("Rank 2 of 2; best is s1 by r1 with 0.46.")
    assert (second.state, second.status, second.mean, second.seeds) == ("measured", "measured", 0.41, 2)
    assert second.finished_at is not None


def test_scores_leave_rounded_and_without_parts(desk: Desk) -> None:
    desk.submit(desk.method("print(1)"))
    score(desk, 1 / 3)
    shown = view(desk, 1)
    assert (shown.mean, shown.standard_error) == (0.33, 0.03)
    with desk.db.reading() as session:
        events = [logged.event for logged in read_events(session, CAMPAIGN)]
    measured = next(event for event in events if event.kind == "submission_measured")
    assert (measured.score, measured.best) == (0.33, True)
    assert not any("0.333" in event.model_dump_json() or "parts" in event.model_dump_json() for event in events)


def test_the_board_is_ordered_and_within_the_noise_the_earlier_leads(desk: Desk) -> None:
    for index, value in enumerate([0.2, 0.5, 0.2, 0.5001]):
        desk.submit(desk.method(f"print({index})"))
        score(desk, value)
    with desk.db.reading() as session:
        rows = read_leaderboard(session, CAMPAIGN, higher_is_better=True)
        assert [row.submission.number for row in rows] == [2, 4, 1, 3]
        assert [row.band for row in rows] == [1, 1, 2, 2]
        assert [row.score for row in rows] == [0.5, 0.5, 0.2, 0.2]
        assert [row.rank for row in rows] == [1, 2, 3, 4]
        assert [
            row.submission.number for row in read_leaderboard(session, CAMPAIGN, limit=2, higher_is_better=True)
        ] == [
            2,
            4,
        ]
        leader = read_leader(session, CAMPAIGN, higher_is_better=True)
        assert leader is not None
        assert leader.number == 2


def test_a_metric_to_lower_turns_the_board_round(desk: Desk) -> None:
    for index, value in enumerate([0.2, 0.1, 0.3]):
        desk.submit(desk.method(f"print({index})"))
        score(desk, value, metric=LOSS)
    with desk.db.reading() as session:
        rows = read_leaderboard(session, CAMPAIGN, higher_is_better=False)
    assert [row.submission.number for row in rows] == [2, 1, 3]
    assert "Rank 1 of 2" in view(desk, 2).verdict


def test_an_empty_board_has_no_best(desk: Desk) -> None:
    desk.submit(desk.method("print(1)"))
    with desk.db.reading() as session:
        assert read_leaderboard(session, CAMPAIGN, higher_is_better=True) == []
        assert read_leader(session, CAMPAIGN, higher_is_better=True) is None


def test_the_same_code_again_adds_seeds_to_one_estimate(desk: Desk) -> None:
    desk.submit(desk.method("print('same')"), researcher=1)
    score(desk, 0.3)
    desk.submit(desk.method("print('same')"), researcher=2)
    score(desk, 0.5)
    first, again = view(desk, 1), view(desk, 2)
    assert (first.mean, first.seeds) == (again.mean, again.seeds) == (0.4, 4)
    assert "same code as s1: their seeds are pooled" in again.verdict
    assert "4 seeds x 2 domains" in first.verdict
    with desk.db.reading() as session:
        rows = read_leaderboard(session, CAMPAIGN, higher_is_better=True)
        draws = session.query(ScoringRun.split_seed).all()
    assert [row.submission.number for row in rows] == [1]
    assert rows[0].submission.researcher_name == "r1"
    assert len(set(draws)) == 8


def test_the_first_failed_run_rejects_and_the_rest_is_skipped(desk: Desk) -> None:
    desk.submit(desk.method("1/0"))
    score(desk, 0.5, fail_at=1)
    shown = view(desk, 1)
    assert (shown.state, shown.status, shown.mean) == ("rejected", "claimed", None)
    assert shown.verdict == (
        "s1 rejected: run 2 of 4 (b) crashed: run.py exited with code 1.\nBoom\nEvery run has to succeed."
    )
    with desk.db.reading() as session:
        assert [run.state for run in session.query(ScoringRun).order_by(ScoringRun.index)] == [
            "scored",
            "failed",
            "skipped",
            "skipped",
        ]
        assert read_leaderboard(session, CAMPAIGN, higher_is_better=True) == []
        events = [logged.event for logged in read_events(session, CAMPAIGN)]
    assert [event.verdict for event in events if event.kind == "scoring_run_finished"] == ["scored", "crashed"]
    rejected = next(event for event in events if event.kind == "submission_rejected")
    assert rejected.verdict == "run 2 of 4 (b) crashed: run.py exited with code 1."


def test_a_verdict_is_given_once(desk: Desk) -> None:
    desk.submit(desk.method("print(1)"))
    score(desk, 0.5)
    before = view(desk, 1)
    with desk.db.writing() as session:
        score_writer.record_measurement(session, before.id, estimate_of([0.9]), seeds=1, domains=2, metric=PGR)
        score_writer.reject_submission(session, before.id)
    assert view(desk, 1) == before


def test_an_estimate_that_is_no_number_is_the_problems_fault(desk: Desk) -> None:
    desk.submit(desk.method("print(1)"))
    with desk.db.writing() as session:
        work = submission_queue.claim_submission(session, CAMPAIGN, domains=("a",), seeds=1, secret="secret")
    with pytest.raises(ProblemError, match="nan"), desk.db.writing() as session:
        score_writer.record_measurement(
            session, work.submission_id, estimate_of([float("nan")]), seeds=1, domains=1, metric=PGR
        )
