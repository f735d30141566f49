"""What people ask of a campaign: written down with who and when, carried out now or at the next start, or refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from aar.auth.tokens import find_researcher_id
from aar.campaign.directions import assign_directions, load_directions
from aar.campaign.external_researchers import invite_researcher
from aar.campaign.spec import override_stored_spec
from aar.campaign.steering import (
    MAX_MESSAGE_CHARACTERS,
    add_researchers,
    change_limits,
    read_desired_states,
    send_command,
)
from aar.campaign.views import get_researcher, list_researchers
from aar.errors import Conflict, Forbidden, NotFound, SeedFileError, SpecError, UsageError
from aar.forum.news import news_since
from aar.problems.registry import find_problem
from aar.store import open_database
from aar.store.column_types import now
from aar.store.database import Database
from aar.store.event_log import read_events
from aar.store.models import Campaign, Control, Researcher

ID = "abc234"
ANA = "human:ana"


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.writing() as session:
        yield session


def _alive(session: Session) -> None:
    campaign = session.get_one(Campaign, ID)
    campaign.controller, campaign.heartbeat_at, campaign.state = "host:1:1", now(), "running"


def test_a_message_reaches_its_reader_once_and_nobody_else(session: Session) -> None:
    asked = send_command(session, ID, "message", "Look at the mean.\n\x1b[31mRed?", ANA, "r1")
    assert (asked.delivered, "first turn after the next start" in asked.text) == (False, True)
    send_command(session, ID, "message", "All: write up.", ANA, "all")
    mine = news_since(session, ID, f"{ID}-r1", 0)
    assert mine.human_messages == [
        "human:ana, a person, wrote to you:\nLook at the mean.\n␛[31mRed?",
        "human:ana, a person, wrote to every researcher:\nAll: write up.",
    ]
    assert len(news_since(session, ID, f"{ID}-r2", 0).human_messages) == 1
    assert news_since(session, ID, f"{ID}-r1", mine.cursor).human_messages == []


def test_every_request_is_an_event_with_who_and_whom(session: Session) -> None:
    _alive(session)
    send_command(session, ID, "pause", "too loud", ANA, "r2")
    send_command(session, ID, "redirect", "Try\nneighbours.", ANA, "2")
    change_limits(session, ID, {"usd": "7", "hours": None}, ANA)
    logged = read_events(session, ID, kinds=["control_requested"])
    assert [(each.researcher_id, each.event.summary()) for each in logged] == [
        (f"{ID}-r2", "human:ana asked: pause r2 too loud"),
        (f"{ID}-r2", "human:ana asked: redirect r2 Try\nneighbours."),
        (None, "human:ana asked: limits usd 7, hours none"),
    ]
    assert [row.command for row in session.query(Control)] == ["researcher", "researcher", "limits"]
    assert get_researcher(session, ID, "r2").direction == "Try neighbours."
    assert read_desired_states(session, ID)[f"{ID}-r2"].cause == "pause asked by human:ana: too loud"


def test_limits_change_in_the_stored_spec_and_a_wrong_one_changes_nothing(session: Session) -> None:
    change_limits(session, ID, {"usd": "7.5", "researcher.turns": "9"}, ANA)
    limits = override_stored_spec(session.get_one(Campaign, ID).spec, {}).limits
    assert (str(limits.usd), limits.researcher.turns) == ("7.5", 9)
    for changes, error in (
        ({"usd": "-1"}, SpecError),
        ({"usd": "much"}, SpecError),
        ({"usd_per_core_hour": "0"}, UsageError),
        ({}, UsageError),
    ):
        with pytest.raises(error):
            change_limits(session, ID, changes, ANA)
    assert str(override_stored_spec(session.get_one(Campaign, ID).spec, {}).limits.usd) == "7.5"


def test_what_makes_no_sense_is_refused_with_the_reason(session: Session) -> None:
    for command, argument, researcher, error, says in (
        ("dance", "", "", UsageError, "pause, stop, message"),
        ("dance", "", "r1", UsageError, "redirect"),
        ("message", " ", "r1", UsageError, "empty"),
        ("message", "x" * (MAX_MESSAGE_CHARACTERS + 1), "r1", UsageError, "4,000"),
        ("pause", "", "r9", NotFound, "r9"),
        ("resume", "", "r1", Conflict, "not paused"),
    ):
        with pytest.raises(error, match=says):
            send_command(session, ID, command, argument, ANA, researcher)
    session.get_one(Researcher, f"{ID}-r1").state = "finished"
    for command in ("pause", "resume", "stop", "message", "redirect", "remove"):
        with pytest.raises(Conflict, match="finished"):
            send_command(session, ID, command, "words", ANA, "r1")
    session.get_one(Campaign, ID).state = "finished"
    for command in ("message", "redirect", "pause"):
        with pytest.raises(Conflict, match="finished"):
            send_command(session, ID, command, "words", ANA, "r2")
    assert read_events(session, ID, kinds=["control_requested"]) == []


def test_one_from_outside_can_be_removed_and_nothing_else(session: Session) -> None:
    token = invite_researcher(session, ID, "guest")
    for command in ("pause", "resume", "stop", "message", "redirect"):
        with pytest.raises(Conflict, match="external researcher"):
            send_command(session, ID, command, "words", ANA, "guest")
    send_command(session, ID, "remove", "", ANA, "guest")
    with pytest.raises(Forbidden):
        find_researcher_id(session, token)


def test_newcomers_take_the_next_names_and_the_least_used_directions(tmp_path: Path) -> None:
    db = open_database(f"sqlite:///{tmp_path / 'aar.db'}")
    directions = load_directions(find_problem("toy").directions())
    spec = {"problem": "toy", "researchers": {"count": 1}}
    with db.writing() as session:
        session.add(Campaign(id=ID, name="t", problem="toy", spec=spec, state="created", secret="0" * 64))
        session.flush()
        first = directions[0]
        rows = {"index": 1, "direction_key": first.key, "direction": first.text, "model": "offline-search"}
        session.add(Researcher(id=f"{ID}-r1", campaign_id=ID, name="r1", state="running", **rows))
        session.flush()
        invite_researcher(session, ID, "guest")
        made, heard = add_researchers(session, ID, len(directions), ANA)
        assert not heard
        assert [each.name for each in made] == [f"r{number}" for number in range(2, len(directions) + 2)]
        assert {each.direction_key for each in made} == {each.key for each in directions}
        assert made[0].direction_key == directions[1].key
        assert {each.model for each in made} == {"offline-search"}
        dear, _ = add_researchers(session, ID, 1, ANA, direction=first.key, model="claude-haiku-5-5")
        grown = override_stored_spec(session.get_one(Campaign, ID).spec, {})
        team = [view for view in list_researchers(session, ID) if view.name != "guest"]
        assert [each.key for each in assign_directions(grown, directions)] == [view.direction_key for view in team]
        assert (grown.researchers.count, len(team)) == (len(directions) + 2,) * 2
        assert grown.researchers.overrides[int(dear[0].name[1:])].model == "claude-haiku-5-5"
        for given, error in (
            ({"direction": "nowhere"}, SeedFileError),
            ({"model": "gpt-77"}, SpecError),
            ({"count": 0}, UsageError),
            ({"count": 500}, SpecError),
        ):
            with pytest.raises(error):
                add_researchers(session, ID, **{"count": 1, "by": ANA, **given})  # type: ignore[arg-type]
    db.close()
