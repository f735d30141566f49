"""A Docker engine that is stopped and started again in the midst of a campaign: it costs time, and nobody."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.campaign.controller.controller import RunningCampaign
from aar.campaign.lifecycle import create_campaign
from aar.campaign.preflight import run_preflight
from aar.campaign.spec import load_spec
from aar.campaign.views import list_researchers
from aar.cli.running.run_campaign import run_campaign
from aar.sandbox.docker.engine import default_tag
from aar.scoring.results.leaderboard import read_leaderboard
from aar.settings import Settings, get_settings
from aar.store.event_log import read_events
from aar.testing.servers import PrivateDockerEngine, docker_missing_reason, private_docker_engine

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.nightly]

_AWAY_SECONDS = 12.0


@pytest.fixture
def engine() -> Iterator[PrivateDockerEngine]:
    if why := docker_missing_reason():
        (pytest.fail if os.environ.get("AAR_REQUIRE_ALL") == "1" else pytest.skip)(why)
    with private_docker_engine(default_tag("cpu")) as made:
        yield made


# The docker SDK never closes the socket of a request that finds nobody: one for each call that is under way just then.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_is_restarted_loses_nobody(
    engine: PrivateDockerEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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

    async def restart(running: RunningCampaign) -> None:
        database = running.plan.database
        while not await database.read(  # noqa: ASYNC110
            lambda session: read_events(session, running.campaign_id, kinds=["tool_finished"])
        ):
            await asyncio.sleep(0.05)
        await asyncio.to_thread(engine.stop)
        await asyncio.sleep(_AWAY_SECONDS)
        await asyncio.to_thread(engine.start)
        await asyncio.Event().wait()

    async def scene() -> None:
        plan = await run_preflight(spec, Settings())
        try:
            campaign_id = await plan.database.write(lambda session: create_campaign(session, plan))
            ending = await run_campaign(plan, campaign_id, companions=[restart])
            assert ending.state == "finished"
            with plan.database.reading() as session:
                assert {view.state for view in list_researchers(session, campaign_id)} == {"finished"}
                assert len(read_leaderboard(session, campaign_id)) == 3
                failed = [each.event for each in read_events(session, campaign_id, kinds=["service_failed"])]
            said = [each.then for each in failed if each.service == "Docker engine"]
            assert said[0].startswith("try 1, next in")
            assert said[-1].startswith("answers again after")
            assert await plan.backend.list(campaign_id) == []
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
