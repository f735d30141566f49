"""A researcher's sandbox while its backend is away, and how a life ends whatever its sandbox and its loop do."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aar.campaign.controller.supervisor import SandboxProvider
from aar.campaign.lifecycle import create_campaign
from aar.campaign.preflight import run_preflight
from aar.campaign.spec import load_spec
from aar.campaign.views import list_researchers
from aar.cli.running.run_campaign import run_campaign
from aar.errors import BackendAway, DatabaseError
from aar.researcher.context import ResearcherContext, StopRequested
from aar.sandbox import incidents
from aar.sandbox.bubblewrap import BubblewrapBackend
from aar.sandbox.channel.channel_sandbox import ChannelSandbox
from aar.sandbox.incidents import BackendOutageMonitor
from aar.sandbox.protocol import SandboxSpec
from aar.settings import Settings
from aar.store.database import Database
from aar.store.event_log import read_events

from ..conftest import CAMPAIGN

pytestmark = pytest.mark.bubblewrap


class Restarting(BubblewrapBackend):
    """A real backend that does not answer the first few times."""

    def __init__(self, away: int) -> None:
        super().__init__()
        self.away = away

    async def attach(self, spec: SandboxSpec) -> ChannelSandbox:
        if self.away:
            self.away -= 1
            raise BackendAway("the engine does not answer")
        return await super().attach(spec)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(incidents, "_SHORTEST_PAUSE", 0.01)
    monkeypatch.setenv("AAR_HOME", str(tmp_path / "home"))


def provide(
    database: Database,
    folder: Path,
    backend: BubblewrapBackend,
    outages: BackendOutageMonitor | None = None,
    stopping: asyncio.Event | None = None,
) -> SandboxProvider:
    spec = SandboxSpec(f"{CAMPAIGN}-r1", CAMPAIGN, folder / "workspace")
    outages = outages or BackendOutageMonitor(0.0)
    return SandboxProvider(backend, spec, database, f"{CAMPAIGN}-r1", outages, stopping or asyncio.Event())


def test_a_backend_that_is_away_is_waited_for(database: Database, tmp_path: Path) -> None:
    told: list[str] = []

    async def scene() -> str:
        backend = Restarting(3)
        kept = provide(database, tmp_path, backend, outages=BackendOutageMonitor(60, lambda _, then: told.append(then)))
        try:
            return (await (await kept.current()).exec("echo here", timeout=20)).output
        finally:
            await kept.close()
            await backend.close()

    assert asyncio.run(scene()) == "here\n"
    assert told[-1].startswith("answers again after")


def test_a_pause_ends_the_wait(database: Database, tmp_path: Path) -> None:
    async def scene() -> None:
        stopping = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, stopping.set)
        kept = provide(database, tmp_path, Restarting(10_000), outages=BackendOutageMonitor(600), stopping=stopping)
        with pytest.raises(StopRequested):
            await asyncio.wait_for(kept.current(), 20)
        await kept.close()

    asyncio.run(scene())


def test_a_sandbox_that_cannot_be_removed_and_a_database_that_is_busy_raise_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        backend = Restarting(0)
        kept = provide(database, tmp_path, backend)
        sandbox = await kept.current()

        async def fails(*_: object) -> None:
            raise DatabaseError("locked")

        with monkeypatch.context() as patch:
            patch.setattr(sandbox, "destroy", fails)
            patch.setattr(database, "write", fails)
            await kept.close()
        await sandbox.destroy()
        await backend.close()

    asyncio.run(scene())


def test_a_loop_that_always_dies_is_started_three_times_and_its_end_is_written_whatever_its_sandbox_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aar.campaign.controller.supervisor._RESTART_SECONDS", 0.0)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)

    async def dies(ctx: ResearcherContext) -> None:
        sandbox = await ctx.sandbox.current()

        async def fails() -> None:
            await type(sandbox).destroy(sandbox)  # type: ignore[arg-type]
            raise BackendAway("the engine does not answer")

        sandbox.destroy = fails  # type: ignore[method-assign]
        raise KeyError("x")

    monkeypatch.setattr("aar.campaign.controller.supervisor.run_researcher", dies)
    spec = load_spec(
        None,
        {"problem": "toy", "researchers.count": 1, "sandbox.backend": "bubblewrap", "serve.enabled": False, "seed": 5},
    )

    async def scene() -> tuple[list[str], list[str], list[str]]:
        plan = await run_preflight(spec, Settings())
        try:
            campaign_id = await plan.database.write(lambda session: create_campaign(session, plan))
            await run_campaign(plan, campaign_id)
            with plan.database.reading() as session:
                causes = [view.cause for view in list_researchers(session, campaign_id)]
                logged = read_events(session, campaign_id, kinds=["researcher_state_changed", "sandbox_incident"])
                said = [each.event.cause for each in logged if each.event.kind == "researcher_state_changed"]
                incidents = [each.event.incident for each in logged if each.event.kind == "sandbox_incident"]
            return causes, said, incidents
        finally:
            plan.database.close()

    causes, said, incidents = asyncio.run(scene())
    assert causes == ["the loop died 4 times: KeyError: 'x'"]
    assert [each for each in said if "restart" in each] == [
        f"loop died (KeyError: 'x'); restart {number} of 3" for number in (1, 2, 3)
    ]
    assert incidents == ["left_behind"]
