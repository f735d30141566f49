"""Whole campaigns with nothing faked: real sandboxes, a real model server over HTTP, a real database, real scores."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from aar.budget.totals import read_totals
from aar.campaign.controller.controller import RunningCampaign
from aar.campaign.controller.orphan_cleanup import remove_campaign_sandboxes, remove_orphan_sandboxes
from aar.campaign.lifecycle import CampaignEnding, create_campaign, save_changed_spec
from aar.campaign.preflight import run_preflight
from aar.campaign.spec import CampaignSpec, load_spec
from aar.campaign.views import get_campaign, list_researchers
from aar.cli.running.run_campaign import run_campaign
from aar.errors import Conflict, UsageError
from aar.forum.search import list_posts
from aar.sandbox import workspaces
from aar.sandbox.bubblewrap import BubblewrapBackend
from aar.sandbox.protocol import ExitReason, SandboxSpec
from aar.scoring.results.leaderboard import read_leaderboard
from aar.settings import Settings
from aar.store import open_database
from aar.store.event_log import read_events
from aar.store.models import Campaign, Submission

pytestmark = [pytest.mark.bubblewrap]

KEY = "sk-ant-not-a-real-key-0123456789"
QUICK: Mapping[str, Any] = {
    "problem": "toy",
    "researchers.count": 2,
    "sandbox.backend": "bubblewrap",
    "serve.enabled": False,
    "limits.submissions": 3,
    "scoring.seeds": 2,
    "scoring.confirm_top": 1,
    "seed": 5,
}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setenv("AAR_HOME", str(tmp_path / "home"))
    return Settings()


async def _run(
    spec: CampaignSpec, settings: Settings, campaign_id: str = "", **kwargs: Any
) -> tuple[str, CampaignEnding]:
    plan = await run_preflight(spec, settings)
    try:
        if not campaign_id:
            campaign_id = await plan.database.write(lambda session: create_campaign(session, plan))
        return campaign_id, await run_campaign(plan, campaign_id, **kwargs)
    finally:
        plan.database.close()


def test_a_team_works_to_its_end(settings: Settings) -> None:
    seen: list[str] = []

    async def watch(running: RunningCampaign) -> None:
        seen.append(running.campaign_id)
        # As a researcher leaves it that does not work again after a pause.
        spec = SandboxSpec(f"{running.campaign_id}-r9", running.campaign_id, settings.home / "idle")
        await running.plan.backend.create(spec)
        await asyncio.Event().wait()

    campaign_id, ending = asyncio.run(_run(load_spec(None, QUICK), settings, companions=[watch]))
    assert ending == CampaignEnding("finished", "every researcher finished")
    assert seen == [campaign_id]
    with _session(settings) as session:
        view = get_campaign(session)
        assert (view.state, view.address) == ("finished", "")
        team = list_researchers(session, campaign_id)
        assert {member.state for member in team} == {"finished"}
        assert len({member.direction_key for member in team}) == 2
        board = read_leaderboard(session, campaign_id)
        assert len(board) == 3
        assert all(row.submission.standard_error for row in board)
        assert {post.author for post in list_posts(session, campaign_id)} == {"r1", "r2"}
        spent = read_totals(session, campaign_id).campaign
        assert (spent.usd, spent.reserved_usd) == (0, 0)
        assert spent.tokens.total > 0
    home = settings.campaign_dir(campaign_id)
    assert "<html" in (home / "report.html").read_text()
    assert not list(home.rglob("hidden*"))
    assert asyncio.run(BubblewrapBackend().list(campaign_id)) == []


def test_a_limit_pauses_and_says_which_and_a_higher_one_goes_on(settings: Settings) -> None:
    campaign_id, ending = asyncio.run(_run(load_spec(None, {**QUICK, "limits.tokens": 120_000}), settings))
    assert ending.state == "paused"
    assert "tokens = 120000 reached" in ending.cause
    with _session(settings) as session:
        assert read_totals(session, campaign_id).campaign.tokens.total <= 120_000
        assert any(logged.event.kind == "limit_hit" for logged in read_events(session, campaign_id, limit=10_000))
        spec = save_changed_spec(session, campaign_id, {"limits.tokens": None})
        session.commit()
    _, ending = asyncio.run(_run(spec, settings, campaign_id))
    assert ending.state == "finished"
    with _session(settings) as session:
        assert len(read_leaderboard(session, campaign_id)) == 3


def test_the_clock_ends_a_campaign_and_what_was_handed_in_is_scored(settings: Settings) -> None:
    spec = load_spec(None, {**QUICK, "limits.hours": 6 / 3600, "limits.submissions": 100, "scoring.confirm_top": 0})
    campaign_id, ending = asyncio.run(_run(spec, settings))
    assert ending.state == "finished"
    assert "hours" in ending.cause
    with _session(settings) as session:
        states = set(session.scalars(select(Submission.state).where(Submission.campaign_id == campaign_id)))
        assert states <= {"measured", "rejected"}
        assert {member.state for member in list_researchers(session, campaign_id)} == {"finished"}
    with pytest.raises(Conflict, match="is finished"):
        asyncio.run(_run(spec, settings, campaign_id))


def test_incidents_become_events(settings: Settings, tmp_path: Path) -> None:
    async def scene() -> list[tuple[str | None, str]]:
        plan = await run_preflight(load_spec(None, QUICK), settings)
        try:
            campaign_id = await plan.database.write(lambda session: create_campaign(session, plan))
            spec = SandboxSpec(name=f"{campaign_id}-r2", campaign_id=campaign_id, workspace=tmp_path / "w")
            sandbox = await plan.backend.create(spec)
            result = await sandbox.exec("sleep 60", timeout=0.3)
            await sandbox.destroy()
            assert result.reason is ExitReason.TIME_LIMIT
            await plan.database.write(lambda session: plan.incidents.write(session, campaign_id))
            assert len(plan.incidents) == 0
            logged = await plan.database.read(
                lambda session: read_events(session, campaign_id, kinds=["sandbox_incident"])
            )
            return [(each.researcher_id and each.researcher_id[-2:], each.event.incident) for each in logged]
        finally:
            plan.database.close()
            await plan.backend.close()

    assert asyncio.run(scene()) == [("r2", "time_limit")]


def test_what_a_dead_controller_left_is_removed_at_the_next_start(settings: Settings, tmp_path: Path) -> None:
    async def scene() -> tuple[list[str], list[str]]:
        plan = await run_preflight(load_spec(None, QUICK), settings)
        try:
            dead = await plan.database.write(lambda session: create_campaign(session, plan))
            for name, owner in ((f"{dead}-r1", dead), ("zzzzzz-r1", "zzzzzz")):
                await plan.backend.create(SandboxSpec(name=name, campaign_id=owner, workspace=tmp_path / name))
            removed = await remove_orphan_sandboxes(plan.backend, plan.database, "another")
            left = [row.name for row in await plan.backend.list()]
            assert await remove_campaign_sandboxes(plan.backend, "zzzzzz") == ["zzzzzz-r1"]
            assert list(await plan.backend.list()) == []
            return [name.removeprefix(dead) for name in removed], left
        finally:
            plan.database.close()
            await plan.backend.close()

    assert asyncio.run(scene()) == (["-r1"], ["zzzzzz-r1"])


@pytest.mark.skipif(not workspaces.can_mount(), reason="a workspace in use needs a mount, and root")
def test_what_cannot_be_removed_is_an_incident_and_stops_nobody(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aar.sandbox.workspaces._RELEASE_SECONDS", 0.2)

    async def scene() -> None:
        plan = await run_preflight(load_spec(None, QUICK), settings)
        try:
            dead = await plan.database.write(lambda session: create_campaign(session, plan))
            next_one = await plan.database.write(lambda session: create_campaign(session, plan))
            names = [f"{dead}-r{index}" for index in (1, 2, 3)]
            for name in names:
                await plan.backend.create(SandboxSpec(name=name, campaign_id=dead, workspace=tmp_path / name))
            with (tmp_path / names[0] / "held").open("w"):
                removed = await remove_orphan_sandboxes(plan.backend, plan.database, next_one, plan.incidents)
                assert removed == names[1:]
                assert await remove_orphan_sandboxes(plan.backend, plan.database, next_one, plan.incidents) == []
            await plan.database.write(lambda session: plan.incidents.write(session, next_one))
            logged = await plan.database.read(
                lambda session: read_events(session, next_one, kinds=["sandbox_incident"])
            )
            assert [(each.event.name, each.event.incident) for each in logged] == [(names[0], "left_behind")] * 2
            assert await remove_orphan_sandboxes(plan.backend, plan.database, next_one) == names[:1]
            assert (tmp_path / names[0] / "held").exists()
        finally:
            plan.database.close()
            await plan.backend.close()

    asyncio.run(scene())
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_a_refused_key_fails_the_campaign_and_is_written_nowhere(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with _refusing_service() as address:
        claude = {**QUICK, "researchers.base_url": address, "researchers.model": "claude-haiku-5-5"}
        campaign_id, ending = asyncio.run(_run(load_spec(None, claude), Settings()))
    assert ending.state == "failed"
    assert "key" in ending.cause
    with _session(settings) as session:
        assert read_totals(session, campaign_id).campaign.usd == 0
    for path in settings.home.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_what_is_wrong_is_said_before_anything_is_started(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "problem.py").write_text("class End(BaseException):\n    pass\n\n\nraise End\n")
    for changes, says in (
        ({"problem": "toyy"}, "toy"),
        ({"researchers.model": "claude-sonnet-5-5"}, "ANTHROPIC_API_KEY"),
        ({"researchers.model": "gpt-77", "researchers.base_url": "http://127.0.0.1:9"}, "price"),
        ({"directions.file": str(tmp_path / "absent.yaml")}, "no directions file"),
        ({"database": f"sqlite:///{tmp_path}"}, "database"),
        ({"sandbox.gpus": 99}, "got 99 per researcher"),
        ({"problem": str(tmp_path)}, "importing it ended its process"),
    ):
        with pytest.raises(Exception, match=says) as caught:
            asyncio.run(run_preflight(load_spec(None, {**QUICK, **changes}), settings))
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError):
        load_spec(None, {**QUICK, "limits.usd": -1})
    assert not (settings.home / "campaigns").exists()


def test_the_secret_seeds_differ_between_campaigns_unless_a_seed_is_given(settings: Settings) -> None:
    async def create(spec: CampaignSpec) -> str:
        plan = await run_preflight(spec, settings)
        campaign_id = await plan.database.write(lambda session: create_campaign(session, plan))
        plan.database.close()
        return campaign_id

    free = load_spec(None, {key: value for key, value in QUICK.items() if key != "seed"})
    ids = [asyncio.run(create(spec)) for spec in (free, free, load_spec(None, QUICK), load_spec(None, QUICK))]
    with _session(settings) as session:
        secrets = [session.get_one(Campaign, campaign_id).secret for campaign_id in ids]
    assert len(set(ids)) == 4
    assert len(set(secrets)) == 3
    assert secrets[2] == secrets[3]


@contextmanager
def _session(settings: Settings) -> Iterator[Session]:
    db = open_database(settings.database_url)
    try:
        with db.writing() as session:
            yield session
    finally:
        db.close()


@contextmanager
def _refusing_service() -> Iterator[str]:
    """A service on loopback that answers every call as Anthropic's does to a wrong key."""

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}'
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(401)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()
