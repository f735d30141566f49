"""Time of running and lineage, read back from what was logged."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from aar.campaign.running_time import RunningTime, read_running_time
from aar.events import CampaignFinished, CampaignPaused, CampaignStarted, Event, VoteCast
from aar.readmodels.progress import list_visible_submissions, read_progress
from aar.readmodels.submission_code import lineage_tree
from aar.readmodels.transcript import read_transcript
from aar.redteam.campaign_rows import add_campaign
from aar.store import event_log, open_database
from aar.store.database import Database
from aar.store.event_log import append_event

from ..report.conftest import Archive

BEGIN = datetime(2026, 4, 1, 9, tzinfo=UTC)
START, PAUSE = CampaignStarted(pid=1, sandbox="docker"), CampaignPaused(cause="asked")
END, OTHER = CampaignFinished(state="finished", cause="done"), VoteCast(post_id=1, value=1)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'aar.db'}")
    with opened.writing() as session:
        add_campaign(session, "k3v9qd", 1)
    yield opened
    opened.close()


def clock_of(db: Database, happened: list[tuple[float, Event]]) -> RunningTime:
    with db.writing() as session, pytest.MonkeyPatch.context() as patch:
        for minutes, event in happened:
            patch.setattr(event_log, "now", partial(BEGIN.__add__, timedelta(minutes=minutes)))
            append_event(session, "k3v9qd", event)
    with db.reading() as session:
        return read_running_time(session, "k3v9qd")


def test_a_pause_takes_no_time(db: Database) -> None:
    clock = clock_of(db, [(0, START), (10, PAUSE), (600, START), (605, OTHER), (620, END)])
    assert clock.total == 30
    assert clock.minutes(BEGIN + timedelta(minutes=5)) == 5
    assert clock.minutes(BEGIN + timedelta(minutes=300)) == 10
    assert clock.minutes(BEGIN + timedelta(minutes=610)) == 20


def test_a_crash_ends_a_span_with_its_last_sign(db: Database) -> None:
    clock = clock_of(db, [(0, START), (7, OTHER), (500, START), (503, OTHER)])
    assert clock.total == 10


def test_before_the_start_no_time_runs(db: Database) -> None:
    assert clock_of(db, []).total == 0


def test_the_frontier_only_climbs(archive: Archive) -> None:
    with archive.db.reading() as session:
        found = read_progress(session, "k3v9qd", list_visible_submissions(session, "k3v9qd"))
    assert [point.mean for point in found.frontier] == [0.21, 0.32, 0.35, 0.4, 0.46, 0.52, 0.55]
    assert [point.minutes for point in found.points] == sorted(point.minutes for point in found.points)
    assert len(found.diversity) == 14


def test_a_metric_to_lower_has_a_frontier_that_falls(archive: Archive) -> None:
    with archive.db.reading() as session:
        found = read_progress(session, "k3v9qd", list_visible_submissions(session, "k3v9qd"), higher_is_better=False)
    assert [point.mean for point in found.frontier] == [0.21, -0.9]


def test_each_submission_stands_below_the_one_it_builds_on(archive: Archive) -> None:
    with archive.db.reading() as session:
        tree = lineage_tree(list_visible_submissions(session, "k3v9qd"))
    depths = {entry.submission.number: entry.depth for entry in tree}
    assert list(depths) == [1, 5, 11, 2, 6, 12, 14, 3, 9, 4, 7, 10, 13, 8]
    assert list(depths.values()) == [0, 1, 2, 0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 0]


def test_a_transcript_has_every_piece_in_words(archive: Archive) -> None:
    with archive.db.reading() as session:
        found = read_transcript(session, "k3v9qd-r1")
    assert [item.who for item in found.items] == ["controller", "researcher", "tool"]
    assert [block.type for block in found.items[1].blocks] == ["thinking", "text", "tool_use"]
    assert found.items[1].blocks[2].text.startswith("python run.py")
    assert found.earlier is None
