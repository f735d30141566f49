"""The diversity gauge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from aar.campaign.diversity import (
    bootstrap_band,
    current_families,
    log_low_diversity,
    read_diversity_history,
    record_diversity,
    shannon_bits,
)
from aar.campaign.external_researchers import invite_researcher
from aar.events import CampaignStarted, DiversityMeasured
from aar.families import FAMILIES, validate_families
from aar.forum.authors import Author
from aar.forum.edits import edit_post, retract
from aar.forum.posts import create_post
from aar.redteam.campaign_rows import add_campaign
from aar.store.database import Database
from aar.store.event_log import append_event, read_events
from aar.store.models import Campaign, EventRecord, Post, Researcher, Submission


def test_all_alike_is_zero_and_all_different_is_the_logarithm() -> None:
    assert shannon_bits(["a"] * 5) == 0
    assert shannon_bits(["a", "b", "c", "d"]) == pytest.approx(2)
    assert shannon_bits([]) == 0


@given(st.lists(st.sampled_from("abcdefghijk"), min_size=1))
def test_entropy_is_bounded_and_ignores_order(families: list[str]) -> None:
    bits = shannon_bits(families)
    assert 0 <= bits <= math.log2(len(set(families))) + 1e-9
    assert bits == pytest.approx(shannon_bits(sorted(families)))


def test_the_band_is_repeatable_and_empty_where_all_agree() -> None:
    families = ["a", "a", "b", "c", "d", "d", "e", "f"]
    assert bootstrap_band(families) == bootstrap_band(families[::-1])
    assert bootstrap_band(["a"] * 6) == (0.0, 0.0)
    assert bootstrap_band([]) == (0.0, 0.0)


@given(st.lists(st.sampled_from("abcdefghijk"), min_size=2, max_size=40))
def test_the_band_lies_within_what_so_many_ideas_can_reach(families: list[str]) -> None:
    low, high = bootstrap_band(families)
    assert 0 <= low <= high <= math.log2(len(set(families))) + 1e-4


def test_a_larger_team_of_the_same_mixture_has_a_narrower_band() -> None:
    few, many = (bootstrap_band(["a", "b", "c"] * times) for times in (2, 50))
    assert many[1] - many[0] < few[1] - few[0]


def test_a_failed_researcher_does_not_count(database: Database) -> None:
    with database.writing() as session:
        team = add_campaign(session, "k3v9qd", 3)
        for name, family in zip(team, ("ensemble", "other", "other"), strict=True):
            session.get_one(Researcher, name).family = family
        assert record_diversity(session, "k3v9qd") == pytest.approx(0.9183)
        session.get_one(Researcher, team[0]).state = "failed"
        assert current_families(session, "k3v9qd") == ["other", "other"]
        assert record_diversity(session, "k3v9qd") == 0
        record_diversity(session, "k3v9qd")
        record_diversity(session, "k3v9qd", 1.5)
        found = read_events(session, "k3v9qd", kinds=["diversity_measured"])
    assert [each.event.model_dump(exclude={"kind"}) for each in found] == [
        {"bits": 0.9183, "families": 2, "low": 0.0, "high": 0.9183, "vendi": None},
        {"bits": 0.0, "families": 1, "low": 0.0, "high": 0.0, "vendi": None},
        {"bits": 0.0, "families": 1, "low": 0.0, "high": 0.0, "vendi": 1.5},
    ]


def _history(session: Session, measured: Sequence[tuple[float, float]]) -> None:
    """Write a campaign that started at minute 0 and measured (minute, bits)."""
    start = datetime(2026, 4, 1, tzinfo=UTC)
    add_campaign(session, "k3v9qd", 2)
    events = [
        (0.0, CampaignStarted(pid=1, sandbox="none")),
        *((at, DiversityMeasured(bits=bits, families=2)) for at, bits in measured),
    ]
    for minutes, event in events:
        session.add(
            EventRecord(
                campaign_id="k3v9qd",
                kind=event.kind,
                at=start + timedelta(minutes=minutes),
                payload=event.model_dump(mode="json"),
            )
        )
        session.flush()


@pytest.mark.parametrize(
    ("measured", "fell"),
    [
        ([(0, 2.0), (5, 0.9), (14, 0.9)], False),  # not for long enough
        ([(0, 2.0), (5, 0.9), (16, 0.8)], True),
        ([(0, 2.0), (5, 1.0), (60, 1.0)], False),  # half of the highest, and one bit
        ([(0, 3.0), (5, 1.2), (16, 1.2)], True),  # over one bit, under half of the highest
        ([(0, 2.0), (5, 0.9), (9, 1.5), (14, 0.9), (16, 0.9)], False),  # it came back meanwhile
        ([(0, 0.0), (60, 0.9), (90, 0.0)], False),  # it never had one bit
    ],
)
def test_people_are_told_of_a_fall_that_lasts_and_only_once(
    database: Database, measured: list[tuple[float, float]], fell: bool
) -> None:
    with database.writing() as session:
        _history(session, measured)
        told = log_low_diversity(session, "k3v9qd")
        assert (told is not None) == fell
        if told:
            assert (
                told.summary()
                == f"idea diversity fell to {measured[-1][1]:.2f} bits from {measured[0][1]:.2f}, 11 minutes ago"
            )
        assert log_low_diversity(session, "k3v9qd") is None


def test_a_look_reads_on_from_the_one_before_and_comes_to_the_same(database: Database) -> None:
    with database.writing() as session:
        _history(session, [(0, 2.0), (5, 0.9), (16, 0.8)])
        seen = [read_diversity_history(session, "k3v9qd")]
        assert log_low_diversity(session, "k3v9qd", seen[0]) is not None
        for bits in (0.7, 1.8, 0.4):
            append_event(session, "k3v9qd", DiversityMeasured(bits=bits, families=2))
            session.flush()
            seen.append(read_diversity_history(session, "k3v9qd", seen[-1]))
            assert seen[-1] == read_diversity_history(session, "k3v9qd")
        assert [each.alerted for each in seen] == [False, True, False, False]
        assert log_low_diversity(session, "k3v9qd", seen[1]) is None, "a fall is told once"
        nothing_new = read_diversity_history(session, "k3v9qd", seen[-1])
    assert nothing_new == seen[-1]


def _team(session: Session, *families: str) -> list[str]:
    team: list[str] = list(add_campaign(session, "k3v9qd", len(families)))
    for who, family in zip(team, families, strict=True):
        session.get_one(Researcher, who).family = family
    return team


def _says(session: Session, who: str, families: Sequence[str], at: datetime) -> int:
    name = who.rpartition("-")[2]
    made = create_post(
        session, "k3v9qd", Author(name, who), kind="insight", title="t", body="cites s1", families=families
    )
    session.get_one(Post, made.id).created_at = at
    session.flush()
    return made.id


def _hands_in(session: Session, who: str, family: str, at: datetime, number: int) -> None:
    row = Submission(
        campaign_id="k3v9qd",
        researcher_id=who,
        number=number,
        digest=f"{number:064d}",
        title="t",
        claim="c",
        families=[family],
        state="queued",
        status="claimed",
        created_at=at,
    )
    session.add(row)
    session.flush()


def test_the_newest_labelled_word_counts_and_unlabelled_and_retracted_ones_do_not(database: Database) -> None:
    start = datetime(2026, 4, 1, tzinfo=UTC)
    minutes = [start + timedelta(minutes=each) for each in range(9)]
    with database.writing() as session:
        one, two, _ = _team(session, "ensemble", "other", "curriculum")
        assert current_families(session, "k3v9qd") == ["ensemble", "other", "curriculum"]
        _hands_in(session, one, "distillation", minutes[1], 1)
        _says(session, two, [], minutes[2])  # cites s1, and yet says nothing of a family
        assert current_families(session, "k3v9qd") == ["distillation", "other", "curriculum"]
        _says(session, one, ["evolutionary", "ensemble"], minutes[3])
        said = _says(session, two, ["loss-function"], minutes[3])
        assert current_families(session, "k3v9qd") == ["evolutionary", "loss-function", "curriculum"]
        _hands_in(session, one, "distillation", minutes[4], 2)
        assert current_families(session, "k3v9qd") == ["distillation", "loss-function", "curriculum"]
        edit_post(session, "k3v9qd", Author("r2", two), said, families=["model-internals"])
        assert current_families(session, "k3v9qd")[1] == "model-internals"
        retract(session, "k3v9qd", Author("r2", two), said, "Wrong.")
        assert current_families(session, "k3v9qd") == ["distillation", "other", "curriculum"]
        create_post(  # a person's label is nobody's idea
            session,
            "k3v9qd",
            Author("human:ana", None),
            kind="insight",
            title="t",
            body="b",
            families=["self-training"],
        )
        assert current_families(session, "k3v9qd") == ["distillation", "other", "curriculum"]
        invite_researcher(session, "k3v9qd", "alice")
        assert len(current_families(session, "k3v9qd")) == 3
        _says(session, "k3v9qd-alice", ["ensemble"], minutes[5])
        assert current_families(session, "k3v9qd")[3:] == ["ensemble"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.sampled_from(["post", "method"]), st.lists(st.sampled_from(FAMILIES), max_size=3)
        ),
        max_size=12,
    )
)
def test_words_in_any_order_leave_each_researcher_with_its_last_label(
    database: Database, said: list[tuple[int, str, list[str]]]
) -> None:
    with database.writing() as session:
        if session.get(Campaign, "k3v9qd") is None:
            _team(session, "ensemble", "other", "curriculum")
        team = [f"k3v9qd-r{index}" for index in (1, 2, 3)]
        point = session.begin_nested()
        expected = ["ensemble", "other", "curriculum"]
        for number, (who, way, families) in enumerate(said, 1):
            at = datetime(2026, 4, 1, tzinfo=UTC) + timedelta(minutes=number)
            labels = validate_families(families, 3)
            if way == "post":
                _says(session, team[who], labels, at)
            elif labels:
                _hands_in(session, team[who], labels[0], at, number)
            if labels:
                expected[who] = labels[0]
        assert current_families(session, "k3v9qd") == expected
        assert shannon_bits(expected) <= math.log2(3) + 1e-9
        session.expunge_all()
        point.rollback()
