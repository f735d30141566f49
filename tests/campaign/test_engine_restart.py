"""A Docker engine that is stopped and started again in the midst of a campaign: it costs time, and nobody.

The engine is one of this test's own, with its folders and network apart from any other; the shared one is only asked
for the image.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aar.campaign.controller import Running
from aar.campaign.creation import create_campaign
from aar.campaign.preflight import check
from aar.campaign.spec_file import load_spec
from aar.campaign.start import run_campaign
from aar.campaign.views import list_researchers
from aar.sandbox.docker import DockerBackend
from aar.sandbox.images.tags import default_tag
from aar.scoring.leaderboard import leaderboard
from aar.settings import Settings, get_settings
from aar.store.event_log import read

pytestmark = [pytest.mark.docker, pytest.mark.slow]

_AWAY_SECONDS = 12.0
_START_SECONDS = 60.0


class OwnEngine:
    """A Docker engine that a test may stop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/sock"
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        own = [f"--{name}={self.folder / path}" for name, path in options.items()]
        # In a network of its own: an engine removes the bridge of another that it meets.
        command = ["unshare", "--net", "dockerd", "-H", self.address, "--bridge=none", "--iptables=false", *own]
        with (self.folder / "log").open("ab") as log:
            self._daemon = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while self.run("version", check=False) != 0:
            if time.monotonic() > deadline or self._daemon.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop it, and its containers with it."""
        if self._daemon is not None:
            self._daemon.terminate()
            self._daemon.wait(60)
            self._daemon = None

    def run(self, *command: str, check: bool = True, stdin: int | None = None) -> int:
        """Run a command of its client."""
        return subprocess.run(
            ["docker", "-H", self.address, *command], check=check, stdin=stdin, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).returncode  # fmt: skip


@contextmanager
def _own_engine(image: str) -> Iterator[OwnEngine]:
    folder = Path(tempfile.mkdtemp(prefix="aar-engine-", dir="/tmp"))
    engine = OwnEngine(folder)
    try:
        engine.start()
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            assert saved.stdout is not None
            engine.run("load", stdin=saved.stdout.fileno())
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(folder)


@pytest.fixture
def engine() -> Iterator[OwnEngine]:
    async def missing() -> str:
        backend = DockerBackend()
        found = await backend.check()
        await backend.close()
        return "" if found.ok else found.detail

    why = asyncio.run(missing()) or ("" if os.getuid() == 0 and shutil.which("dockerd") else "an engine needs root")
    if why:
        (pytest.fail if os.environ.get("AAR_REQUIRE_ALL") == "1" else pytest.skip)(why)
    with _own_engine(default_tag("cpu")) as made:
        yield made


# The docker SDK never closes the socket of a request that finds nobody: one for each call that is under way just then.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_is_restarted_loses_nobody(
    engine: OwnEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AAR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AAR_DOCKER_HOST", engine.address)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    get_settings.cache_clear()
    spec = load_spec(
        None,
        {
            "problem": "toy",
            "researchers.count": 2,
            "sandbox.backend": "docker",
            "serve.enabled": False,
            "limits.submissions": 3,
            "limits.hours": 0.2,
            "scoring.seeds": 2,
            "scoring.confirm_top": 0,
            "seed": 5,
        },
    )

    async def restart(running: Running) -> None:
        database = running.plan.database
        while not await database.read(lambda session: read(session, running.campaign_id, kinds=["tool_finished"])):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await asyncio.to_thread(engine.stop)
        await asyncio.sleep(_AWAY_SECONDS)
        await asyncio.to_thread(engine.start)
        await asyncio.Event().wait()

    async def scene() -> None:
        plan = await check(spec, Settings())
        try:
            campaign_id = await plan.database.write(lambda session: create_campaign(session, plan))
            ending = await run_campaign(plan, campaign_id, companions=[restart])
            assert ending.state == "finished"
            with plan.database.reading() as session:
                assert {view.state for view in list_researchers(session, campaign_id)} == {"finished"}
                assert len(leaderboard(session, campaign_id)) == 3
                failed = [each.event for each in read(session, campaign_id, kinds=["service_failed"])]
            said = [each.then for each in failed if each.service == "Docker engine"]
            assert said[0].startswith("try 1, next in")
            assert said[-1].startswith("answers again after")
            assert await plan.backend.orphans(campaign_id) == []
        finally:
            await plan.backend.close()
            plan.database.close()

    try:
        asyncio.run(scene())
    finally:
        get_settings.cache_clear()
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    runs = tmp_path.glob("home/campaigns/*/scoring/runs/*")
    assert list(runs) == []
    gc.collect()  # here, where what the SDK left open is passed over
