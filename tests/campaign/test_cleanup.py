"""How a campaign ended does not hang on its clean-up: what fails there is told, and what hangs is not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aar.campaign.controller import controller, runtime
from aar.campaign.controller.controller import RunningCampaign
from aar.campaign.controller.runtime import GatewayRegistry
from aar.campaign.lifecycle import CampaignEnding, create_campaign
from aar.campaign.preflight import run_preflight
from aar.campaign.spec import load_spec
from aar.campaign.views import get_campaign, list_researchers
from aar.cli.running.run_campaign import run_campaign
from aar.errors import StillInUse
from aar.sandbox.bubblewrap import BubblewrapBackend
from aar.sandbox.channel.channel_sandbox import ChannelSandbox
from aar.sandbox.protocol import SandboxSpec
from aar.settings import Settings
from aar.store.event_log import read_events

pytestmark = pytest.mark.bubblewrap

QUICK: Mapping[str, Any] = {
    "problem": "toy",
    "researchers.count": 1,
    "sandbox.backend": "bubblewrap",
    "serve.enabled": False,
    "limits.submissions": 1,
    "scoring.seeds": 1,
    "scoring.confirm_top": 0,
    "seed": 5,
}
DONE = CampaignEnding("finished", "every researcher finished")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setenv("AAR_HOME", str(tmp_path / "home"))


async def _run(**more: Any) -> tuple[CampaignEnding, list[Any]]:
    """A quick campaign: how it ended, and what its services died of."""
    plan = await run_preflight(load_spec(None, QUICK), Settings())
    try:
        campaign_id = await plan.database.write(lambda session: create_campaign(session, plan))
        async with asyncio.timeout(60):
            ending = await run_campaign(plan, campaign_id, **more)
        with plan.database.reading() as session:
            assert get_campaign(session, campaign_id).state == ending.state
            return ending, [each.event for each in read_events(session, campaign_id, kinds=["service_failed"])]
    finally:
        plan.database.close()


def test_connections_that_cannot_be_closed_or_that_hang_change_no_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_CLOSE_SECONDS", 0.2)
    close = GatewayRegistry.close

    async def fails(endpoints: GatewayRegistry) -> None:
        await close(endpoints)
        raise OSError("it is closed already")

    async def hangs(endpoints: GatewayRegistry) -> None:
        await close(endpoints)
        await asyncio.Event().wait()

    for each in (fails, hangs):
        monkeypatch.setattr(GatewayRegistry, "close", each)
        assert asyncio.run(_run())[0] == DONE


def test_a_companion_that_does_not_end_and_a_backend_that_cannot_be_closed_keep_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(controller, "_END_SECONDS", 2.0)
    close = BubblewrapBackend.close
    over: list[asyncio.Event] = []

    async def broken(backend: BubblewrapBackend) -> None:
        await close(backend)
        for each in over:
            each.set()
        raise OSError("no connection")

    async def stays(_running: RunningCampaign) -> None:
        over.append(asyncio.Event())
        try:
            await asyncio.Event().wait()
        finally:
            await over[-1].wait()

    monkeypatch.setattr(BubblewrapBackend, "close", broken)
    assert asyncio.run(_run(companions=[stays]))[0] == DONE
    assert over


def test_a_researcher_s_end_is_written_down_before_its_sandbox_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    running: list[RunningCampaign] = []
    destroy = ChannelSandbox.destroy

    async def watch(now: RunningCampaign) -> None:
        running.append(now)
        await asyncio.Event().wait()

    async def noted(sandbox: ChannelSandbox) -> None:
        if sandbox.spec.name.endswith("-r1"):
            with running[0].database.reading() as session:
                seen.extend(each.state for each in list_researchers(session, running[0].campaign_id))
        await destroy(sandbox)

    monkeypatch.setattr(ChannelSandbox, "destroy", noted)
    assert asyncio.run(_run(companions=[watch]))[0] == DONE
    assert seen == ["finished"]


def test_a_workspace_that_a_former_sandbox_still_uses_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    create, tries = BubblewrapBackend.create, 2

    async def busy(backend: BubblewrapBackend, spec: SandboxSpec) -> ChannelSandbox:
        nonlocal tries
        if spec.name.endswith("-r1") and tries:
            tries -= 1
            raise StillInUse("the workspace is still in use")
        return await create(backend, spec)

    monkeypatch.setattr(BubblewrapBackend, "create", busy)
    ending, told = asyncio.run(_run())
    assert ending == DONE
    assert [(each.service, each.error) for each in told] == [("r1", "the workspace is still in use")] * 2
