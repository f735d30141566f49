"""One controller at a time, dead ones recognised, requests heard."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from aar.campaign import controller_lock
from aar.campaign.controller_lock import HEARTBEAT_TIMEOUT, count_pending_requests, take_requests
from aar.campaign.lifecycle import start_controller
from aar.campaign.steering import request_command
from aar.campaign.views import get_campaign, get_researcher
from aar.errors import Conflict, NotFound, UsageError
from aar.problems.toy import Toy
from aar.settings import Settings
from aar.store.column_types import now
from aar.store.database import Database
from aar.store.event_log import read_events
from aar.store.models import Campaign, Researcher

CAMPAIGN = "abc234"


def _claim(database: Database) -> bool:
    with database.writing() as session:
        return controller_lock.claim_campaign(
            session, CAMPAIGN, Toy(), sandbox="bubblewrap", address="http://127.0.0.1:1"
        )


def test_a_claim_shows_and_is_let_go(database: Database) -> None:
    assert _claim(database) is False
    with database.reading() as session:
        view = get_campaign(session, "abc")
        assert (view.state, view.sandbox, view.address) == ("running", "bubblewrap", "http://127.0.0.1:1")
    with database.writing() as session:
        controller_lock.release_campaign(session, CAMPAIGN, state="paused", cause="tea")
    with database.reading() as session:
        view = get_campaign(session)
        assert (view.state, view.cause, view.address) == ("paused", "tea", "")
        kinds = [logged.event.kind for logged in read_events(session, CAMPAIGN)]
        assert kinds == ["campaign_started", "campaign_paused"]
    assert _claim(database) is True


def test_a_campaign_of_another_version_of_its_problem_is_not_taken_up(database: Database, tmp_path: Path) -> None:
    """As begun by a release whose scores do not compare with this one's."""
    with database.writing() as session:
        session.get_one(Campaign, CAMPAIGN).problem_version = 7
    for take_up in (
        lambda: _claim(database),
        lambda: start_controller(CAMPAIGN, Settings(home=tmp_path), database),
    ):
        with pytest.raises(Conflict) as refusal:
            take_up()
        assert "got version 7 of toy" in refusal.value.message
        assert "expected 1" in refusal.value.message
        assert "\n" not in str(refusal.value)
        assert "new campaign" in str(refusal.value.remedy)
    with database.writing() as session:
        view = get_campaign(session, CAMPAIGN)
        assert (view.state, view.started_at, list(read_events(session, CAMPAIGN))) == ("created", None, [])
        assert request_command(session, CAMPAIGN, "stop", "", "ana") is False
        assert get_campaign(session, CAMPAIGN).state == "finished"


def test_a_server_without_a_key_starts_no_controller_whose_researchers_need_one(
    database: Database, tmp_path: Path
) -> None:
    with database.writing() as session:
        session.scalars(select(Researcher).where(Researcher.campaign_id == CAMPAIGN)).first().model = "claude-opus-4-8"  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="calls claude-opus-4-8, which needs a key, and this server has none"):
        start_controller(CAMPAIGN, Settings(home=tmp_path, ANTHROPIC_API_KEY=None), database)
    with database.reading() as session:
        assert get_campaign(session, CAMPAIGN).state == "created"


def test_a_living_controller_keeps_others_out(database: Database) -> None:
    _claim(database)
    with database.writing() as session:
        session.get_one(Campaign, CAMPAIGN).controller = "elsewhere:7:9"
    with pytest.raises(Conflict, match="run by another controller"):
        _claim(database)
    with database.writing() as session, pytest.raises(Conflict, match="taken over"):
        controller_lock.record_heartbeat(session, CAMPAIGN, [], timedelta())
    with database.writing() as session:
        controller_lock.release_campaign(session, CAMPAIGN, state="paused", cause="taken over")
    with database.reading() as session:
        assert get_campaign(session).state == "running"


def test_a_silent_controller_is_taken_for_dead(database: Database) -> None:
    _claim(database)
    with database.writing() as session:
        campaign = session.get_one(Campaign, CAMPAIGN)
        campaign.controller, campaign.heartbeat_at = "elsewhere:7:9", now() - 2 * HEARTBEAT_TIMEOUT
    assert _claim(database) is True


def test_a_killed_controller_of_this_host_is_seen_at_once(database: Database) -> None:
    _claim(database)
    host, pid, start = controller_lock.controller_id().rsplit(":", 2)
    with database.writing() as session:
        session.get_one(Campaign, CAMPAIGN).controller = f"{host}:{pid}:{int(start) - 1}"
    assert _claim(database) is True


def test_a_finished_campaign_is_over(database: Database) -> None:
    _claim(database)
    with database.writing() as session:
        controller_lock.release_campaign(session, CAMPAIGN, state="finished", cause="done")
    with pytest.raises(Conflict, match="is finished"):
        _claim(database)
    with database.writing() as session, pytest.raises(Conflict, match="finished already"):
        request_command(session, CAMPAIGN, "pause", "", "ana")


def test_a_beat_adds_the_time_worked(database: Database) -> None:
    _claim(database)
    with database.writing() as session:
        controller_lock.record_heartbeat(session, CAMPAIGN, [f"{CAMPAIGN}-r1"], timedelta(seconds=2.5))
        controller_lock.record_heartbeat(session, CAMPAIGN, [f"{CAMPAIGN}-r1"], timedelta(seconds=1))
    with database.reading() as session:
        assert get_researcher(session, CAMPAIGN, "r1").active_seconds == pytest.approx(3.5)
        assert get_researcher(session, CAMPAIGN, "2").active_seconds == 0


def test_a_request_is_heard_once_by_a_living_controller(database: Database) -> None:
    _claim(database)
    with database.writing() as session:
        assert request_command(session, CAMPAIGN, "pause", "", "ana") is True
        assert count_pending_requests(session, CAMPAIGN) == 1
        assert [(request.command, request.by) for request in take_requests(session, CAMPAIGN)] == [("pause", "ana")]
        assert take_requests(session, CAMPAIGN) == []


def test_without_a_controller_a_stop_takes_effect_at_once(database: Database) -> None:
    with database.writing() as session:
        assert request_command(session, CAMPAIGN, "stop", "", "ana") is False
    with database.reading() as session:
        view = get_campaign(session)
        assert (view.state, view.cause) == ("finished", "stop asked by ana")


def test_unknown_names_are_named(database: Database) -> None:
    with database.writing() as session:
        with pytest.raises(UsageError, match="unknown command dance"):
            request_command(session, CAMPAIGN, "dance", "", "ana")
        with pytest.raises(NotFound, match="no campaign zzz"):
            get_campaign(session, "zzz")
        with pytest.raises(NotFound, match="no researcher r9"):
            get_researcher(session, CAMPAIGN, "r9")
