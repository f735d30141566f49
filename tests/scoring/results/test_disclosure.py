"""Which scores researchers are told as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from aar.problems.protocol import Estimate, Metric
from aar.scoring.results import score_writer
from aar.scoring.results.disclosure import LOW_SCORE_ALLOWANCE, is_low
from aar.scoring.submissions import get_submission
from aar.scoring.visibility import Audience, leaderboard_seen_by, submission_seen_by
from aar.store import open_database
from aar.store.database import Database
from aar.store.models import Campaign, Researcher, Submission

CAMPAIGN = "k3v9qd"
PGR = Metric("PGR", higher_is_better=True, ceiling=1.0, plain=0.2)
ERROR = 0.02


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'aar.db'}")
    with opened.writing() as session:
        session.add(Campaign(id=CAMPAIGN, name="c", problem="p", spec={}, state="running", secret="s" * 64))
        session.flush()
        for index in (1, 2):
            identity = {"id": f"{CAMPAIGN}-r{index}", "name": f"r{index}", "index": index, "direction_key": "d"}
            session.add(Researcher(**identity, campaign_id=CAMPAIGN, direction="d", model="m", state="running"))
    yield opened
    opened.close()


def measured(
    session: Session, number: int, mean: float, researcher: int = 1, identity: str = "", error: float = ERROR
) -> str:
    submission = Submission(
        campaign_id=CAMPAIGN,
        number=number,
        researcher_id=f"{CAMPAIGN}-r{researcher}",
        digest=identity or f"{number:064}",
        identity=identity or f"{number:064}",
        title="t",
        claim="c",
        state="scoring",
        status="claimed",
    )
    session.add(submission)
    session.flush()
    estimate = Estimate(mean, error, mean - 2 * error, mean + 2 * error, 8)
    score_writer.record_measurement(session, submission.id, estimate, seeds=4, domains=2, metric=PGR)
    return get_submission(session, CAMPAIGN, number).verdict


def test_low_scores_are_told_a_few_times_and_then_without_their_number(db: Database) -> None:
    with db.writing() as session:
        measured(session, 1, 0.43)
        told = [measured(session, number, 0.3) for number in range(2, 2 + LOW_SCORE_ALLOWANCE)]
        assert all("measured: PGR 0.30" in verdict for verdict in told)
        withheld = measured(session, 100, 0.3)
        assert withheld.startswith("s100 measured, number withheld: it is surely worse than s1, your best (PGR 0.43")
        assert "0.3" not in withheld.replace("0.43", "")
        assert "measured: PGR 0.41" in measured(session, 101, 0.41), "near the best it is told"
        assert "measured: PGR 0.50" in measured(session, 102, 0.5)


def test_the_allowance_is_the_campaigns_and_everybodys_best_his_own_once_there_is_one(db: Database) -> None:
    with db.writing() as session:
        measured(session, 1, 0.43)
        for number in range(2, 2 + LOW_SCORE_ALLOWANCE):
            measured(session, number, 0.3)
        first = measured(session, 100, 0.3, researcher=2)
        assert "number withheld: it is surely worse than s1, the best of others (PGR 0.43" in first, "r2 has no other"
        assert "measured: PGR 0.42" in measured(session, 101, 0.42, researcher=2)
        below = measured(session, 102, 0.1, researcher=2)
        assert "number withheld: it is surely worse than s101, your best (PGR 0.42" in below


@pytest.mark.parametrize("others_best", [None, 0.25], ids=["a new author", "an author of low scores"])
def test_a_number_that_one_is_not_told_is_not_had_under_another_name(db: Database, others_best: float | None) -> None:
    with db.writing() as session:
        if others_best is not None:
            measured(session, 1000, others_best, researcher=2)
        measured(session, 1, 0.43)
        for number in range(2, 2 + LOW_SCORE_ALLOWANCE):
            measured(session, number, 0.3)
        assert "number withheld" in measured(session, 100, 0.3, identity="a" * 64)
        again = measured(session, 101, 0.3, researcher=2, identity="a" * 64)
        assert "number withheld: it is surely worse than s1, the best of others (PGR 0.43" in again
        assert (
            "number withheld: it is surely worse than s1, your best" in get_submission(session, CAMPAIGN, 100).verdict
        )
        kept = [get_submission(session, CAMPAIGN, number).told for number in (100, 101)]
    assert kept == [False, False]


def test_a_verdict_names_no_best_whose_own_number_is_not_told(db: Database) -> None:
    with db.writing() as session:
        measured(session, 1, 0.43)
        for number in range(2, 2 + LOW_SCORE_ALLOWANCE):
            measured(session, number, 0.3)
        measured(session, 100, 0.31, researcher=2)
        below = measured(session, 101, 0.1, researcher=2)
    assert "surely worse than s100, your best. The campaign" in below
    assert "0.31" not in below


def test_a_bad_beginning_buys_no_numbers(db: Database) -> None:
    with db.writing() as session:
        verdicts = [measured(session, number, -0.3 + number / 1000) for number in range(1, LOW_SCORE_ALLOWANCE + 3)]
    assert all("measured: PGR -0." in verdict for verdict in verdicts[:LOW_SCORE_ALLOWANCE])
    assert all("number withheld" in verdict for verdict in verdicts[LOW_SCORE_ALLOWANCE:])
    assert "surely worse than the plainest method (PGR 0.20)" in verdicts[-1] or "your best" in verdicts[-1]


def test_handing_a_told_low_score_in_again_frees_no_number(db: Database) -> None:
    with db.writing() as session:
        measured(session, 1, 0.43)
        for number in range(2, 2 + LOW_SCORE_ALLOWANCE):
            measured(session, number, 0.3)
        for number in range(100, 110):
            assert "number withheld" in measured(session, number, 0.3, identity=f"{number - 98:064}")
            assert "number withheld" in measured(session, number + 100, 0.3), "another number would be had for it"


@pytest.mark.parametrize("best", [(0.43, ERROR), (0.9, 0.5)], ids=["a steady best", "a best that scatters"])
def test_a_method_that_scatters_its_own_score_is_told_no_more_often(db: Database, best: tuple[float, float]) -> None:
    with db.writing() as session:
        for number in range(1, 6):
            measured(session, number, 0.4, researcher=2)
        measured(session, 10, best[0], error=best[1])
        verdicts = [measured(session, number, -0.1, error=0.5) for number in range(11, 14 + LOW_SCORE_ALLOWANCE)]
    # So few of many: those that scatter become the campaign's usual ones once they are most of it.
    assert all("measured: PGR" in verdict for verdict in verdicts[:4])
    with db.reading() as session:
        first = [session.get_one(Submission, number).telling for number in range(7, 10)]
    assert first == ["low"] * 3


def test_no_place_on_the_board_tells_a_number_that_is_withheld(db: Database) -> None:
    def seen(session: Session) -> list[tuple[int, int, int]]:
        rows = leaderboard_seen_by(session, CAMPAIGN, Audience.RESEARCHER)
        return [(row.submission.number, row.rank, row.band) for row in rows]

    with db.writing() as session:
        measured(session, 1, 0.43)
        for step in range(LOW_SCORE_ALLOWANCE):  # a ruler
            measured(session, 2 + step, 0.30 - step * 0.05)
        before = seen(session)
        assert "number withheld" in measured(session, 100, -0.27)
        assert seen(session) == before
        told = measured(session, 101, 0.42, identity=f"{1:064}")
    assert f"s1 is on the board. Rank 1 of {1 + LOW_SCORE_ALLOWANCE}" in told


def test_a_verdict_names_no_leader_whose_number_is_not_told(db: Database) -> None:
    with db.writing() as session:
        for number in range(1, 1 + LOW_SCORE_ALLOWANCE):
            measured(session, number, -0.3)
        assert "number withheld" in measured(session, 100, 0.15)
        told = measured(session, 101, 0.13, researcher=2, error=2 * ERROR)
    assert "measured: PGR 0.13" in told
    assert "0.15" not in told


def test_people_see_every_number_and_researchers_do_not(db: Database) -> None:
    with db.writing() as session:
        measured(session, 1, 0.43)
        for number in range(2, 4 + LOW_SCORE_ALLOWANCE):
            measured(session, number, 0.3)
        view = get_submission(session, CAMPAIGN, 3 + LOW_SCORE_ALLOWANCE)
    assert (view.mean, view.told) == (0.3, False)
    seen = submission_seen_by(view, Audience.RESEARCHER)
    assert (seen.mean, seen.standard_error, seen.low, seen.high) == (None,) * 4


score = st.tuples(st.floats(-1, 1), st.floats(0.001, 0.2))


@given(score, st.none() | score, st.booleans())
def test_low_is_the_same_for_a_metric_turned_round(
    mine: tuple[float, float], best: tuple[float, float] | None, plain: bool
) -> None:
    up = Metric("up", higher_is_better=True, ceiling=1.0, plain=0.2 if plain else None)
    down = Metric("down", higher_is_better=False, ceiling=-1.0, plain=-0.2 if plain else None)
    turned = None if best is None else (-best[0], best[1])
    assert is_low(mine, best, up) == is_low((-mine[0], mine[1]), turned, down)
    assert not is_low((max(mine[0], 0.2, best[0] if best else -1.0), mine[1]), best, up)
