import asyncio
import socket
import subprocess
from pathlib import Path

import pytest

from aar.campaign.controller_lock import controller_id
from aar.sandbox.bubblewrap import BubblewrapBackend
from aar.sandbox.protocol import SandboxSpec
from aar.store.column_types import now
from aar.store.models import Campaign

from .conftest import Terminal


@pytest.fixture
def leftovers(writable: Terminal, tmp_path: Path) -> None:
    """Sandboxes of a campaign whose controller is dead, and of one that the database does not hold."""

    async def make() -> None:
        backend = BubblewrapBackend()
        for name in ("k3v9qd-r1", "zzzzzz-r1"):
            await backend.create(SandboxSpec(name, name.partition("-")[0], tmp_path / name))
        await backend.close()

    asyncio.run(make())


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("leftovers")
def test_list_stats_and_prune(writable: Terminal) -> None:
    listed = {each["name"]: each for each in writable.json("sandbox", "list")}
    assert listed.keys() == {"k3v9qd-r1", "zzzzzz-r1"}
    assert not listed["k3v9qd-r1"]["in_use"]
    assert "not in this database" in writable.ok("sandbox", "list")
    assert {each["name"] for each in writable.json("sandbox", "stats")} == listed.keys()
    assert "k3v9qd-r1" in writable.ok("sandbox", "stats")
    assert writable.json("sandbox", "prune") == {"removed": ["k3v9qd-r1"], "left": {}}
    assert [each["name"] for each in writable.json("sandbox", "list")] == ["zzzzzz-r1"]
    assert "removed zzzzzz-r1" in writable.ok("sandbox", "prune", "--all")
    assert writable.ok("sandbox", "list").strip() == "There is no sandbox."


@pytest.mark.bubblewrap
@pytest.mark.usefixtures("leftovers")
def test_what_a_controller_killed_a_moment_ago_left_is_pruned(writable: Terminal) -> None:
    scoring = writable.home / "campaigns" / "k3v9qd" / "scoring"
    (scoring / "runs" / "k3v9qd-run-1" / "workspace").mkdir(parents=True)
    (scoring / "bundles" / "x").mkdir(parents=True)
    database = writable.database()

    def signed(controller: str) -> None:
        with database.writing() as session:
            campaign = session.get_one(Campaign, "k3v9qd")
            campaign.state, campaign.controller, campaign.heartbeat_at = "running", controller, now()

    try:
        signed(controller_id())
        assert writable.json("sandbox", "prune") == {"removed": [], "left": {}}
        assert (scoring / "runs" / "k3v9qd-run-1").exists()
        with subprocess.Popen(["true"]) as gone:
            pass
        signed(f"{socket.gethostname()}:{gone.pid}:1")
        assert writable.json("sandbox", "prune") == {"removed": ["k3v9qd-r1"], "left": {}}
        assert list(scoring.iterdir()) == []
    finally:
        database.close()
        writable.ok("sandbox", "prune", "--all")


def test_a_shell_where_there_is_no_sandbox(writable: Terminal) -> None:
    result = writable.run("sandbox", "shell", "k3v9qd-r9")
    assert result.exit_code == 2
    assert "no sandbox named k3v9qd-r9" in result.stderr
