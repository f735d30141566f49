"""The Vendi score, and when it is measured."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.campaign.diversity import VendiMonitor, latest_texts, vendi_score
from aar.forum.authors import Author
from aar.forum.posts import create_post
from aar.redteam.campaign_rows import add_campaign
from aar.store.database import Database

WORDS = ["probe", "teacher", "ensemble", "noise", "margin", "prior", "layer", "student"]


def test_all_alike_is_one_and_nothing_in_common_is_the_number_of_texts() -> None:
    assert vendi_score(["the teacher errs on irony"] * 5) == pytest.approx(1)
    assert vendi_score(WORDS) == pytest.approx(len(WORDS))
    assert vendi_score([]) == 0
    assert vendi_score(["", "?!"]) == 2


def test_two_of_one_kind_and_one_of_another_is_the_entropy_of_their_shares() -> None:
    thirds = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert vendi_score(["layer probe", "layer probe", "teacher noise"]) == pytest.approx(math.exp(thirds))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), min_size=1, max_size=12))
def test_the_score_lies_between_one_and_the_number_of_texts(texts: list[str]) -> None:
    assert 1 - 1e-9 <= vendi_score(texts) <= len(set(texts)) + 1e-6
    assert vendi_score(texts) == pytest.approx(vendi_score(texts[::-1]))


@pytest.mark.anyio
async def test_the_gauge_measures_what_is_written_now_and_not_too_often(database: Database) -> None:
    seconds = [0.0]
    gauge = VendiMonitor(database, "k3v9qd", interval=60, clock=lambda: seconds[0])
    with database.writing() as session:
        team = add_campaign(session, "k3v9qd", 2)
        for index, text in enumerate(("probe the layers", "weigh the teacher")):
            author = Author(f"r{index + 1}", team[index])
            create_post(session, "k3v9qd", author, kind="insight", title=text, body=text)
        create_post(session, "k3v9qd", Author("human:ana", None), kind="question", title="Why?", body="?")
        assert latest_texts(session, "k3v9qd") == [
            "probe the layers\nprobe the layers",
            "weigh the teacher\nweigh the teacher",
        ]
    assert await gauge.measure() is None
    seconds[0] = 61
    first = await gauge.measure()
    assert first is not None
    assert 1.5 < first < 2
    with database.writing() as session:
        create_post(
            session, "k3v9qd", Author("r2", team[1]), kind="insight", title="probe the layers", body="probe the layers"
        )
    seconds[0] = 100
    assert await gauge.measure() == first
    seconds[0] = 122
    assert await gauge.measure() == 1.0
