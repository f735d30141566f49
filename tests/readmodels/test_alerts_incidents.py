"""A report tells what went wrong, each thing once with how often and whose it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.events import (
    AnyEvent,
    CampaignPaused,
    CampaignStarted,
    ContextReset,
    ModelCallFailed,
    ModelServiceRecovered,
    ModelServiceUnavailable,
    ProblemFailed,
    ServiceFailed,
)
from aar.readmodels.alerts import list_incidents
from aar.redteam.campaign_rows import add_campaign
from aar.report.html_report import render_report
from aar.report.report_data import build_report
from aar.settings import Settings
from aar.store import open_database
from aar.store.database import Database
from aar.store.event_log import append_event

CAMPAIGN = "k3v9qd"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(Settings(home=tmp_path).database_url)
    try:
        with opened.writing() as session:
            add_campaign(session)
        yield opened
    finally:
        opened.close()


def happen(database: Database, *events: AnyEvent | tuple[str, AnyEvent]) -> list[tuple[str, int, list[str]]]:
    with database.writing() as session:
        for each in events:
            who, event = each if isinstance(each, tuple) else (None, each)
            append_event(session, CAMPAIGN, event, f"{CAMPAIGN}-{who}" if who else None)
    with database.reading() as session:
        return [(each.text, each.count, each.researchers) for each in list_incidents(session, CAMPAIGN)]


def test_a_quiet_campaign_has_none(database: Database) -> None:
    reset = ContextReset(reason="90,000 tokens", content=[], kept_turns=3)
    quiet = [CampaignStarted(pid=1, sandbox="bubblewrap"), ("r1", reset)]
    assert happen(database, *quiet) == []
    with database.reading() as session:
        assert "No incidents were recorded" in render_report(build_report(session, None, CAMPAIGN))


def test_a_controller_that_died_is_told_from_one_that_paused(database: Database) -> None:
    start = CampaignStarted(pid=1, sandbox="bubblewrap", resumed=True)
    told = happen(database, start, CampaignPaused(cause="a\x1bperson asked"), start, start, start)
    assert told == [
        ("campaign paused: a␛person asked", 1, []),
        ("the controller died; another one resumed the campaign", 2, []),
    ]


def test_the_same_thing_again_is_counted_with_those_it_concerned(database: Database) -> None:
    failed = ModelCallFailed(request_id="q", error="the stream broke")
    away = ModelServiceUnavailable(service="http://m", cause="cannot reach http://m", tries=1, seconds=2.0)
    told = happen(
        database,
        ("r2", failed),
        ("r1", failed),
        ("r2", failed),
        away,
        ModelServiceRecovered(service="http://m", tries=9, seconds=70.0),
        ServiceFailed(service="scorer", error="disk full", then="started again in 1 s"),
        ServiceFailed(service="scorer", error="disk full", then="started again in 2 s"),
        ProblemFailed(submission_id=1, number=3, error="pool raised"),
        ("r1", ContextReset(reason="refused by the service", content=[], kept_turns=0)),
    )
    assert told == [
        ("model call failed: the stream broke", 3, ["r2", "r1"]),
        ("the model service was unavailable: cannot reach http://m", 1, []),
        ("http://m answers again, after 9 failed tries in 70 s", 1, []),
        ("scorer failed (disk full)", 2, []),
        ("s3 set aside: pool raised", 1, []),
        ("context handed over: refused by the service", 1, ["r1"]),
    ]
    with database.reading() as session:
        html = render_report(build_report(session, None, CAMPAIGN))
    assert "model call failed: the stream broke" in html
    assert "(r2, r1)" in html
