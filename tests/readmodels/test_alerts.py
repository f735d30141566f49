"""What a person should look at first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from aar.campaign.controller_lock import controller_id
from aar.campaign.views import get_campaign
from aar.readmodels.alerts import list_alerts
from aar.redteam.campaign_rows import add_campaign
from aar.store import open_database
from aar.store.column_types import now
from aar.store.database import Database
from aar.store.models import Campaign


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = open_database(f"sqlite:///{tmp_path / 'aar.db'}")
    with database.writing() as session:
        add_campaign(session, "k3v9qd", 1)
    yield database
    database.close()


def _hold(db: Database, *, state: str, controller: str, seconds_ago: float = 0) -> None:
    with db.writing() as session:
        campaign = session.get_one(Campaign, "k3v9qd")
        campaign.state, campaign.controller = state, controller
        campaign.heartbeat_at = now() - timedelta(seconds=seconds_ago)


def _dead_process() -> str:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        signature = controller_id(child.pid)
    assert signature
    return signature


def test_a_controller_that_was_killed_is_told_at_once(db: Database) -> None:
    _hold(db, state="running", controller=_dead_process())
    with db.reading() as session:
        view = get_campaign(session, "k3v9qd")
        [alert] = list_alerts(session, "k3v9qd")
    assert view.controller == "lost"
    assert view.resumable
    said = view.state_text(lambda at: f"{at:%H:%M}")
    assert view.heartbeat_at is not None
    assert said == f"running, no controller since {view.heartbeat_at:%H:%M}; run `aar resume k3v9qd`"
    assert (alert.kind, alert.grave, alert.at) == ("failure", True, view.heartbeat_at)
    assert "no controller since" in alert.text


@pytest.mark.parametrize(
    ("state", "controller", "seconds_ago", "expected"),
    [
        ("running", "mine", 0, "alive"),
        ("running", "elsewhere:1:1", 5, "alive"),
        ("running", "elsewhere:1:1", 60, "lost"),
        ("running", "", 60, "lost"),
        ("created", "elsewhere:1:1", 60, "lost"),
        ("created", "", 60, "none"),
        ("paused", "", 60, "none"),
        ("paused", "mine", 0, "alive"),
        ("finished", "", 60, "none"),
    ],
)
def test_who_runs_a_campaign(db: Database, state: str, controller: str, seconds_ago: float, expected: str) -> None:
    controller = controller_id(os.getpid()) if controller == "mine" else controller
    _hold(db, state=state, controller=controller, seconds_ago=seconds_ago)
    with db.reading() as session:
        view = get_campaign(session, "k3v9qd")
        assert view.controller == expected
        assert [each.kind for each in list_alerts(session, "k3v9qd")] == (["failure"] if expected == "lost" else [])
    assert view.state_text(str).startswith(state)
