"""Places on the board: bands, the first place that is reserved, and the same code under other layouts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from aar.errors import Conflict
from aar.problems.protocol import Estimate, Metric, Problem
from aar.scoring import confirmation_queue, finalizer
from aar.scoring.audits.protocol import PhaseScores
from aar.scoring.confirmation_queue import CheckPlan
from aar.scoring.results.leaderboard import read_leader, read_leaderboard
from aar.scoring.submissions import get_submission
from aar.store.models import ScoringRun, StageEstimate, Submission

from .conftest import CAMPAIGN, COPY, Desk, events
from .results.test_score_writer import LOSS, PGR, estimate_of, score

PLAN = CheckPlan(confirm_seeds=1, audit_seeds=1)


def hand_in(desk: Desk, *values: float, metric: Metric = PGR) -> None:
    """Submissions of different code, scored at these values."""
    for value in values:
        desk.submit(desk.method(f"print({len(list(desk.folder.iterdir()))})"))
        score(desk, value, metric=metric)


def confirm(desk: Desk, problem: Problem, number: int, value: float, metric: Metric = PGR) -> None:
    """A confirmation whose sealed runs came to ``value``."""
    with desk.db.writing() as session:
        submission = get_submission(session, CAMPAIGN, number)
        confirmation_queue.request_check(session, CAMPAIGN, submission.id, "confirmation", "", "human:ana")
        work = confirmation_queue.claim_check(session, CAMPAIGN, problem, PLAN, [], "secret")
        assert work is not None
        found = {"confirm": PhaseScores(estimate_of([value]), [], 1)}
        finalizer.finish_check(session, work.check_id, found, [], plan=PLAN, metric=metric)


def board(desk: Desk, higher: bool = True) -> list[Any]:
    with desk.db.reading() as session:
        return read_leaderboard(session, CAMPAIGN, higher_is_better=higher)


def test_a_place_is_gained_by_more_than_the_noise(desk: Desk) -> None:
    hand_in(desk, 0.30, 0.31, 0.33, 0.60)
    assert [(row.submission.number, row.rank, row.band) for row in board(desk)] == [
        (4, 1, 1),
        (3, 2, 2),
        (2, 3, 2),
        (1, 4, 2),
    ]
    assert [event.event.best for event in events(desk, "submission_measured")] == [True, True, False, True]


def test_first_place_is_provisional_until_one_is_confirmed_and_then_reserved(desk: Desk, problem: Problem) -> None:
    hand_in(desk, 0.4, 0.6)
    assert [(row.submission.number, row.provisional) for row in board(desk)] == [(2, True), (1, False)]
    confirm(desk, problem, 1, 0.38)
    first, second = board(desk)
    assert (first.submission.number, first.rank, first.provisional, first.score) == (1, 1, False, 0.38)
    assert (second.submission.number, second.band, second.score) == (2, 1, 0.6)
    hand_in(desk, 0.9)
    assert board(desk)[0].submission.number == 1
    assert events(desk, "submission_measured")[-1].event.best  # it would lead, so it is to be confirmed
    confirm(desk, problem, 3, 0.88)
    assert [row.submission.number for row in board(desk)] == [3, 2, 1]
    with desk.db.reading() as session:
        leader = read_leader(session, CAMPAIGN)
    assert leader is not None
    assert (leader.number, leader.status) == (3, "confirmed")


def test_a_refuted_leader_leaves_the_board(desk: Desk, problem: Problem) -> None:
    hand_in(desk, 0.4, 0.9)
    confirm(desk, problem, 2, 0.1)
    assert [row.submission.number for row in board(desk)] == [1]
    (finished,) = events(desk, "check_finished")
    assert finished.event.outcome == "refuted"


def test_all_of_it_turned_round_where_lower_is_better(desk: Desk, problem: Problem) -> None:
    hand_in(desk, 0.5, 0.2, 0.1, metric=LOSS)
    assert [row.submission.number for row in board(desk, higher=False)] == [3, 2, 1]
    confirm(desk, problem, 3, 0.9, metric=LOSS)
    assert [row.submission.number for row in board(desk, higher=False)] == [2, 1]
    confirm(desk, problem, 2, 0.05, metric=LOSS)
    assert [(row.submission.number, row.score) for row in board(desk, higher=False)] == [(2, 0.05), (1, 0.5)]


def test_the_leader_is_asked_for_once(desk: Desk) -> None:
    hand_in(desk, 0.4, 0.9)
    with desk.db.writing() as session:
        assert finalizer.request_leader_confirmation(session, CAMPAIGN, higher_is_better=True)
        assert not finalizer.request_leader_confirmation(session, CAMPAIGN, higher_is_better=True)
        (check,) = confirmation_queue.list_checks(session, CAMPAIGN)
    assert (check.number, check.by, check.kind, check.state) == (2, "scorer", "confirmation", "queued")


def test_checks_take_turns_and_never_reuse_a_draw(desk: Desk, problem: Problem) -> None:
    hand_in(desk, 0.4, 0.5)
    confirm(desk, problem, 1, 0.4)
    confirm(desk, problem, 1, 0.41)
    with desk.db.reading() as session:
        runs = session.query(ScoringRun).filter(ScoringRun.stage == "confirm").all()
        assert [run.index for run in runs] == [0, 1, 2, 3]
        assert len({run.split_seed for run in session.query(ScoringRun)}) == 4 + 4 + 4


def test_the_same_files_share_one_place_and_one_estimate(desk: Desk) -> None:
    """Handed in again for luck, they only get more seeds, and a rejection holds for them too."""
    desk.submit(desk.method(COPY))
    score(desk, 0.3)
    desk.submit(desk.method(COPY), researcher=2)
    score(desk, 0.5)
    (row,) = board(desk)
    assert (row.submission.number, row.submission.mean, row.submission.seeds) == (1, 0.4, 4)
    desk.submit(desk.method("1/0"))
    score(desk, 0.0, fail_at=0)
    with pytest.raises(Conflict, match="exact files are s3, which was rejected"):
        desk.submit(desk.method("1/0"), researcher=3)


@pytest.mark.parametrize("change", ["# lucky?", '"""A note."""', "x: int = 1"])
def test_a_change_that_code_could_see_makes_other_code(desk: Desk, change: str) -> None:
    """Code that reads its own text does another thing then: nobody else's score may move."""
    desk.submit(desk.method(COPY))
    score(desk, 0.4)
    desk.submit(desk.method(f"{COPY}\n{change}\n"), researcher=2)
    score(desk, -1.0)
    first, second = sorted(board(desk), key=lambda row: row.submission.number)
    assert (first.submission.mean, first.submission.seeds) == (0.4, 2)
    assert second.submission.mean == -1.0


def sealed_check(desk: Desk, problem: Problem, number: int, found: Estimate, seeds: int) -> str:
    """A confirmation that came to this; returns the submission's status after it."""
    with desk.db.writing() as session:
        submission = get_submission(session, CAMPAIGN, number)
        confirmation_queue.request_check(session, CAMPAIGN, submission.id, "confirmation", "", "human:ana")
        work = confirmation_queue.claim_check(session, CAMPAIGN, problem, PLAN, [], "secret")
        assert work is not None
        phases = {"confirm": PhaseScores(found, [], seeds)}
        finalizer.finish_check(session, work.check_id, phases, [], plan=PLAN, metric=PGR)
        return get_submission(session, CAMPAIGN, number).status


def test_how_sure_an_error_is_is_kept_and_decides_over_a_refutation(desk: Desk, problem: Problem) -> None:
    """Two seeds with a lucky error refute nothing alone; with the errors of enough other codes they do."""
    fall = replace(estimate_of([0.45], error=0.02), freedom=1.0)
    hand_in(desk, 0.6)
    with desk.db.writing() as session:
        session.execute(update(Submission).values(freedom=1.0, standard_error=0.02))
    assert sealed_check(desk, problem, 1, fall, 2) == "confirmed"
    with desk.db.reading() as session:
        assert session.scalars(select(StageEstimate.freedom)).all() == [1.0]
    hand_in(desk, 0.61, 0.3, 0.32, 0.31, 0.28, 0.35, 0.33)
    with desk.db.writing() as session:
        session.execute(update(Submission).values(freedom=2.0, standard_error=0.02))
    assert sealed_check(desk, problem, 2, fall, 2) == "refuted"


def test_an_error_from_before_its_freedom_was_kept_counts_as_unsure(desk: Desk, problem: Problem) -> None:
    hand_in(desk, 0.6)
    with desk.db.reading() as session:
        assert session.scalars(select(Submission.freedom)).all() == [None]
    assert sealed_check(desk, problem, 1, estimate_of([0.4], error=0.02), 2) == "confirmed"


def test_a_noisy_score_neither_leads_nor_hides_what_others_gained(desk: Desk) -> None:
    hand_in(desk, 0.50, 0.45, 0.41, 0.33, 0.27, 0.22)
    with desk.db.writing() as session:
        session.execute(update(Submission).values(standard_error=0.02))
        session.execute(update(Submission).where(Submission.number == 1).values(standard_error=0.30))
    rows = board(desk)
    assert [(row.submission.number, row.band) for row in rows if row.submission.number != 1] == [
        (2, 1),
        (3, 2),
        (4, 3),
        (5, 4),
        (6, 5),
    ]
    assert rows[0].submission.number == 2
