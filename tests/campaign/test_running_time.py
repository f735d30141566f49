"""The campaign's clock counts running, not pauses, and survives a killed controller."""

from __future__ import annotations

from datetime import timedelta

import pytest

from aar.campaign.running_time import RunTimer, read_running_time
from aar.events import CampaignPaused, CampaignStarted, DiversityMeasured, Event
from aar.store.column_types import now
from aar.store.database import Database
from aar.store.event_log import read_events
from aar.store.models import EventRecord

CAMPAIGN = "abc234"
STARTED = CampaignStarted(pid=1, sandbox="bubblewrap")
SOMETHING = DiversityMeasured(bits=1, families=2)


def _log(database: Database, happened: list[tuple[float, Event]]) -> float:
    begin = now() - timedelta(hours=1)
    with database.writing() as session:
        for seconds, event in happened:
            at, payload = begin + timedelta(seconds=seconds), event.model_dump(mode="json")
            session.add(EventRecord(campaign_id=CAMPAIGN, kind=event.kind, at=at, payload=payload))
            session.flush()
    with database.reading() as session:
        return read_running_time(session, CAMPAIGN).seconds


def test_pauses_do_not_count(database: Database) -> None:
    ran = _log(
        database,
        [(0, STARTED), (10, CampaignPaused(cause="tea")), (500, STARTED), (507, CampaignPaused(cause="tea"))],
    )
    assert ran == pytest.approx(17)


def test_neither_a_clock_that_is_set_nor_sleep_counts(database: Database) -> None:
    slept = CampaignPaused(cause="tea", seconds=60)
    ran = _log(database, [(0, STARTED), (30_000, slept), (30_100, STARTED), (20_000, SOMETHING), (20_060, slept)])
    assert ran == pytest.approx(120)


def test_a_clock_that_was_set_back_before_a_crash_takes_nothing_away(database: Database) -> None:
    assert _log(database, [(0, STARTED), (50, CampaignPaused(cause="tea")), (300, STARTED), (90, SOMETHING)]) == 50


def test_a_killed_controller_counts_to_its_last_event(database: Database) -> None:
    ran = _log(database, [(0, STARTED), (5, SOMETHING), (300, STARTED), (304, SOMETHING)])
    assert ran == pytest.approx(9)


def test_time_expires_and_is_recorded(database: Database) -> None:
    assert not RunTimer(0, None).expired()
    assert not RunTimer(0, 1).expired()
    clock = RunTimer(3600, 1)
    assert clock.expired()
    with database.writing() as session:
        assert clock.log_time_limit(session, CAMPAIGN) == "limit hours = 1 reached"
    with database.reading() as session:
        assert [logged.event.kind for logged in read_events(session, CAMPAIGN)] == ["limit_hit"]
