"""Controllers that claim at once, in processes of their own on both databases: exactly one gets each campaign."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aar.store import open_database
from aar.store.models import Campaign

CONTROLLERS, CAMPAIGNS = 4, 12
CONTROLLER = """
import json, sys
from aar.campaign import controller_lock
from aar.errors import Conflict
from aar.problems.toy import Toy
from aar.store import open_database

db = open_database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
mine = []
for campaign_id in sys.argv[2:]:
    try:
        db.write_now(
            lambda session: controller_lock.claim_campaign(
                session, campaign_id, Toy(), sandbox="bubblewrap", address=""
            )
        )
        mine.append(campaign_id)
    except Conflict as error:
        assert "another controller" in str(error), error
print(json.dumps(mine), flush=True)
sys.stdin.readline()  # alive until all have tried
"""


def _race(url: str) -> list[str]:
    """Have controllers claim the same campaigns in the same order; returns what each of them got, all together."""
    names = [f"abc{number:03d}" for number in range(CAMPAIGNS)]
    db = open_database(url)
    with db.writing() as session:
        for name in names:
            session.add(Campaign(id=name, name="t", problem="toy", spec={}, state="created", secret="0" * 64))
    command = [sys.executable, "-c", CONTROLLER, url, *names]
    controllers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(CONTROLLERS)
    ]
    try:
        for each in controllers:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in controllers:
            _tell(each)
        got = [json.loads(each.stdout.readline()) for each in controllers if each.stdout is not None]
        with db.reading() as session:
            assert all(session.get_one(Campaign, name).controller for name in names)
        for each in controllers:
            _tell(each)
            assert each.wait(60) == 0
    finally:
        db.close()
        for each in controllers:
            each.kill()
            each.communicate()
    return sorted(name for mine in got for name in mine)


def _tell(controller: subprocess.Popen[str]) -> None:
    assert controller.stdin is not None
    controller.stdin.write("\n")
    controller.stdin.flush()


def test_exactly_one_controller_gets_each_campaign_on_sqlite(tmp_path: Path) -> None:
    assert _race(f"sqlite:///{tmp_path / 'aar.db'}") == [f"abc{number:03d}" for number in range(CAMPAIGNS)]


@pytest.mark.postgres
def test_exactly_one_controller_gets_each_campaign_on_postgresql(postgres_url: str) -> None:
    assert _race(postgres_url) == [f"abc{number:03d}" for number in range(CAMPAIGNS)]
