"""A life of a run: companions that die, requests while it starts, waits for a place, and kills at each step."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

import aar.problems.toy
from aar.campaign import controller_lock
from aar.campaign.controller import control_loop, controller, service_restarts
from aar.campaign.controller.controller import RunningCampaign
from aar.campaign.lifecycle import CampaignEnding, create_campaign
from aar.campaign.preflight import run_preflight
from aar.campaign.spec import CampaignSpec, load_spec
from aar.campaign.steering import request_command
from aar.campaign.views import get_campaign, list_researchers
from aar.cli.running import run_campaign as campaign_process
from aar.cli.running.run_campaign import run_campaign
from aar.sandbox.bubblewrap import BubblewrapBackend
from aar.sandbox.leases import Lease, Leases
from aar.settings import Settings
from aar.store import open_database
from aar.store.database import Database
from aar.store.event_log import read_events

from ..waiting import block_until

pytestmark = [pytest.mark.bubblewrap]

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
SLOW = """

_prepare = Toy.prepare


def _slowly(self, domain, stage, split_seed, into):
    import time
    if str(stage) == "research" or getattr(stage, "value", "") == "research":
        (Path(__file__).parent / "preparing").touch()
        time.sleep(600)
    return _prepare(self, domain, stage, split_seed, into)


Toy.prepare = _slowly
"""
PATIENCE = 60.0


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setenv("AAR_HOME", str(tmp_path / "home"))
    return Settings()


@pytest.fixture
def slow_problem(tmp_path: Path) -> Path:
    """The toy problem, which takes ten minutes to lay out its data."""
    folder = tmp_path / "slow"
    shutil.copytree(Path(aar.problems.toy.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "problem.py").open("a", encoding="utf-8") as code:
        code.write(SLOW)
    return folder


async def _run(spec: CampaignSpec, settings: Settings, **kwargs: Any) -> tuple[str, CampaignEnding]:
    plan = await run_preflight(spec, settings)
    try:
        campaign_id = await plan.database.write(lambda session: create_campaign(session, plan))
        return campaign_id, await run_campaign(plan, campaign_id, **kwargs)
    finally:
        plan.database.close()


def test_a_companion_that_dies_changes_nothing_and_is_started_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_restarts, "_SHORTEST_PAUSE", 0.01)
    begun: list[int] = []

    async def live_view(_running: RunningCampaign) -> None:
        begun.append(len(begun))
        raise BrokenPipeError("the terminal is gone")

    async def dies_as_it_ends(_running: RunningCampaign) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("it cannot end in good order either")

    ran = _run(load_spec(None, QUICK), settings, companions=[live_view, dies_as_it_ends])
    campaign_id, ending = asyncio.run(ran)
    assert ending == CampaignEnding("finished", "every researcher finished")
    assert len(begun) == 6
    assert (settings.campaign_dir(campaign_id) / "report.html").exists()
    told = [each.event for each in _events(settings, campaign_id, "service_failed")]
    assert [each.then for each in told][-1] == "given up"
    assert {each.service for each in told} == {"live view"}


def test_a_report_that_cannot_be_written_leaves_the_ending_as_it_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(campaign_process, "write_report", full)
    _, ending = asyncio.run(_run(load_spec(None, QUICK), settings))
    assert ending.state == "finished"


def test_the_mirror_and_the_database_may_fail_for_a_while(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_restarts, "_SHORTEST_PAUSE", 0.01)
    failures = iter([OSError(24, "Too many open files")] * 3)
    sync = controller.ForumMirror.sync
    opened = False

    async def scarce(mirror: Any) -> int:
        nonlocal opened
        if opened and (error := next(failures, None)) is not None:
            raise error
        opened = True
        return await sync(mirror)

    leases = iter([OSError(24, "Too many open files")] * 2)
    researcher = Leases.lease_for_researcher

    @asynccontextmanager
    async def scarce_lease(self: Leases, owner: str, *, gpus: int = 0) -> AsyncIterator[Lease]:
        if (error := next(leases, None)) is not None:
            raise error
        async with researcher(self, owner, gpus=gpus) as lease:
            yield lease

    monkeypatch.setattr(controller.ForumMirror, "sync", scarce)
    monkeypatch.setattr(Leases, "lease_for_researcher", scarce_lease)
    campaign_id, ending = asyncio.run(_run(load_spec(None, QUICK), settings))
    assert ending == CampaignEnding("finished", "every researcher finished")
    told = [each.event for each in _events(settings, campaign_id, "service_failed")]
    assert {each.service for each in told} == {"forum mirror", "r1"}


def test_no_time_is_booked_before_a_researcher_has_its_place(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    booked: list[float] = []
    count = 0
    beat, researcher = controller_lock.record_heartbeat, Leases.lease_for_researcher

    def counted(*args: Any) -> None:
        nonlocal count
        beat(*args)
        count += 1

    @asynccontextmanager
    async def late(self: Leases, owner: str, *, gpus: int = 0) -> AsyncIterator[Lease]:
        seen = count
        async with asyncio.timeout(PATIENCE):
            while count < seen + 2:  # noqa: ASYNC110 - counted in another thread
                await asyncio.sleep(0.05)
        with _session(settings) as db, db.reading() as session:
            [view] = list_researchers(session, get_campaign(session).id)
            booked.append(view.active_seconds)
            assert view.state == "created"
        async with researcher(self, owner, gpus=gpus) as lease:
            yield lease

    monkeypatch.setattr(control_loop, "_HEARTBEAT_SECONDS", 0.2)  # a quick campaign works for less than a usual one
    monkeypatch.setattr(controller_lock, "record_heartbeat", counted)
    monkeypatch.setattr(Leases, "lease_for_researcher", late)
    campaign_id, ending = asyncio.run(_run(load_spec(None, QUICK), settings))
    assert ending.state == "finished"
    assert booked == [0.0]
    with _session(settings) as db, db.reading() as session:
        assert list_researchers(session, campaign_id)[0].active_seconds > 0


@pytest.mark.parametrize(("command", "state"), [("pause", "paused"), ("stop", "finished")])
def test_what_is_asked_while_a_campaign_is_made_ready_is_done_at_once(
    settings: Settings, slow_problem: Path, command: str, state: str
) -> None:
    async def ask(running: RunningCampaign) -> None:
        await asyncio.to_thread(block_until, (slow_problem / "preparing").exists)
        await running.database.write(lambda session: request_command(session, running.campaign_id, command, "", "ana"))
        await asyncio.Event().wait()

    async def scene() -> tuple[str, CampaignEnding]:
        async with asyncio.timeout(PATIENCE):
            return await _run(load_spec(None, {**QUICK, "problem": str(slow_problem)}), settings, companions=[ask])

    campaign_id, ending = asyncio.run(scene())
    assert ending == CampaignEnding(state, f"{command} asked by ana")
    with _session(settings) as db, db.reading() as session:
        view = get_campaign(session, campaign_id)
        assert (view.state, view.cause) == (state, f"{command} asked by ana")
    assert not _processes(slow_problem)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["preparing", "campaign_started", "turn_received", "pause"])
def test_a_controller_killed_at_any_step_leaves_what_the_next_one_takes_up(
    settings: Settings, slow_problem: Path, quick_spec: Path, moment: str
) -> None:
    problem = str(slow_problem) if moment == "preparing" else "toy"
    process = _aar(settings, "start", str(quick_spec), "--problem", problem)
    try:
        if moment == "preparing":
            block_until((slow_problem / "preparing").exists)
        elif moment == "pause":
            block_until(lambda: _happened(settings, "turn_received"))
            _aar(settings, "pause", serve=False).wait(PATIENCE)
        else:
            block_until(lambda: _happened(settings, moment))
    finally:
        process.kill()
        process.wait()
    # Nobody waits for a timeout: a request and the next controller see at once that this one is dead.
    if moment == "preparing":
        with (slow_problem / "problem.py").open("a", encoding="utf-8") as code:
            code.write("\nToy.prepare = _prepare\n")
    assert _aar(settings, "resume", "--port", "0").wait(PATIENCE) == 0, _log(settings)
    with _session(settings) as db, db.reading() as session:
        assert get_campaign(session).state == "finished", _log(settings)
        campaign_id = get_campaign(session).id
    left = [each.event for each in _events(settings, campaign_id, "sandbox_incident")]
    assert not [each for each in left if each.incident == "left_behind"]
    block_until(lambda: not _processes(settings.home))
    assert asyncio.run(BubblewrapBackend().list(campaign_id)) == []
    assert str(settings.home) not in Path("/proc/mounts").read_text()


def _aar(settings: Settings, *arguments: str, serve: bool = True) -> subprocess.Popen[bytes]:
    settings.home.mkdir(exist_ok=True)
    plain = ["--plain", "--yes"] if serve else []
    with (settings.home / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "aar", *arguments, *plain],
            env={**os.environ, "AAR_HOME": str(settings.home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _log(settings: Settings) -> str:
    return (settings.home / "log").read_text()[-3000:]


def _happened(settings: Settings, kind: str) -> bool:
    if not (settings.home / "aar.db").exists():
        return False
    try:
        return bool(_events(settings, "latest", kind))
    except Exception:  # noqa: BLE001 - the other process is just making it
        return False


def _events(settings: Settings, campaign_id: str, kind: str) -> list[Any]:
    with _session(settings) as db, db.reading() as session:
        return read_events(session, get_campaign(session, campaign_id).id, kinds=[kind], limit=10_000)


@contextmanager
def _session(settings: Settings) -> Iterator[Database]:
    db = open_database(settings.database_url)
    try:
        yield db
    finally:
        db.close()


def _processes(folder: Path) -> list[str]:
    found = []
    for place in Path("/proc").iterdir():
        try:
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (place / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if place.name.isdigit() and int(place.name) != os.getpid() and str(folder) in line + environment:
            found.append(line)
    return found
