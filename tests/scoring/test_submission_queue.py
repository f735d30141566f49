from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.problems.protocol import Stage, TaskScore
from aar.scoring import submission_queue
from aar.scoring.cleanroom.clean_room import ScoringRunResult
from aar.scoring.phases import draw_seeds
from aar.scoring.results import score_writer
from aar.store.models import ScoringRun

from .conftest import Desk

CAMPAIGN = "k3v9qd"


def claim(desk: Desk, seeds: int = 2, skip: tuple[str, ...] = ()) -> Any:
    with desk.db.writing() as session:
        return submission_queue.claim_submission(
            session, CAMPAIGN, domains=("a", "b"), seeds=seeds, secret="secret", skip=skip
        )


def test_researchers_take_turns_whoever_hands_in_more(desk: Desk) -> None:
    for index in range(4):
        desk.submit(desk.method(f"print({index})"), researcher=1)
    desk.submit(desk.method("print('two')"), researcher=2)
    desk.submit(desk.method("print('three')"), researcher=3)
    with desk.db.reading() as session:
        planned = submission_queue.read_queue(session, CAMPAIGN).waiting
    taken = [claim(desk).number for _ in range(6)]
    assert taken == [1, 5, 6, 2, 3, 4]
    assert planned == tuple(taken)
    assert claim(desk) is None


def test_turns_are_remembered_over_a_restart(desk: Desk) -> None:
    desk.submit(desk.method("print(1)"), researcher=1)
    assert claim(desk).number == 1
    desk.submit(desk.method("print(2)"), researcher=1)
    desk.submit(desk.method("print(3)"), researcher=2)
    assert claim(desk).number == 3


def test_a_skipped_researcher_waits_and_the_others_do_not(desk: Desk) -> None:
    desk.submit(desk.method("print(1)"), researcher=1)
    desk.submit(desk.method("print(2)"), researcher=2)
    assert claim(desk, skip=(f"{CAMPAIGN}-r1",)).number == 2
    assert claim(desk, skip=(f"{CAMPAIGN}-r1",)) is None


def test_the_draws_are_written_when_the_submission_is_claimed(desk: Desk) -> None:
    view = desk.submit(desk.method("print(1)"))
    work = claim(desk)
    assert [(ticket.index, ticket.domain) for ticket in work.pending] == [(0, "a"), (1, "b"), (2, "a"), (3, "b")]
    for ticket in work.pending:
        expected = draw_seeds("secret", Stage.MEASURE, 1, view.digest, ticket.index)
        assert (ticket.seed, ticket.split_seed) == (expected.seed, expected.split_seed)


def test_a_restart_keeps_results_and_draws(desk: Desk) -> None:
    desk.submit(desk.method("print(1)"))
    before = claim(desk)
    done, interrupted = before.pending[0], before.pending[1]
    trial = ScoringRunResult(TaskScore(parts={"value": 0.5}), None, "", "f" * 64, 1.0)
    with desk.db.writing() as session:
        assert score_writer.finish_run(session, CAMPAIGN, done.run_id, trial)
        score_writer.start_run(session, interrupted.run_id)
    with desk.db.writing() as session:
        (after,) = submission_queue.recover_submissions(session, CAMPAIGN)
    assert list(after.pending) == list(before.pending)[1:]
    assert (after.unfinished, after.runs, after.failed) == (3, 4, False)


def test_a_run_is_never_scored_twice(desk: Desk) -> None:
    desk.submit(desk.method("print(1)"))
    ticket = claim(desk).pending[0]
    with desk.db.writing() as session:
        assert score_writer.finish_run(
            session, CAMPAIGN, ticket.run_id, ScoringRunResult(TaskScore(parts={"value": 0.1}), None, "", None, 1.0)
        )
    with desk.db.writing() as session:
        assert not score_writer.finish_run(
            session, CAMPAIGN, ticket.run_id, ScoringRunResult(TaskScore(parts={"value": 0.9}), None, "", None, 1.0)
        )
    with desk.db.reading() as session:
        assert session.get_one(ScoringRun, ticket.run_id).parts == {"value": 0.1}


def test_the_queue_tells_who_is_ahead(desk: Desk) -> None:
    for index in range(3):
        desk.submit(desk.method(f"print({index})"))
    claim(desk)
    with desk.db.reading() as session:
        state = submission_queue.read_queue(session, CAMPAIGN)
    assert (state.scoring, state.waiting) == ((1,), (2, 3))
    assert state.count_ahead(3) == 2
    assert state.count_ahead(1) is None
    assert state.run_seconds is None


def test_the_expected_wait_counts_the_runs_ahead(desk: Desk) -> None:
    for index in range(3):
        desk.submit(desk.method(f"print({index})"), runs=4)
    work = claim(desk)
    trial = ScoringRunResult(TaskScore(parts={"value": 0.5}), None, "", None, 3.0)
    with desk.db.writing() as session:
        score_writer.finish_run(session, CAMPAIGN, work.pending[0].run_id, trial)
    with desk.db.reading() as session:
        state = submission_queue.read_queue(session, CAMPAIGN, parallel=2)
    assert state.runs_before == {2: 3, 3: 7}
    assert state.expected_wait(3) == 3.0 * 7 / 2
    assert state.expected_wait(1) is None


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.dictionaries(st.sampled_from("abcd"), st.integers(1, 99)))
def test_nobody_is_served_twice_while_another_waits(authors: list[str], served: dict[str, int]) -> None:
    queued = list(enumerate(authors, start=1))
    order = submission_queue.fair_order(queued, served)
    assert sorted(order) == [number for number, _ in queued]
    author = dict(queued)
    for place, number in enumerate(order):
        later = [author[other] for other in order[place + 1 :]]
        window = [author[other] for other in order[place : place + 1 + len(set(later) - {author[number]})]]
        assert window.count(author[number]) == 1
        own = [other for other in order if author[other] == author[number]]
        assert own == sorted(own)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_claim_has_every_domain_for_each_seed(desk: Desk, seeds: int) -> None:
    desk.submit(desk.method("print(1)"))
    assert claim(desk, seeds=seeds).runs == 2 * seeds
