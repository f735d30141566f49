"""Launching from the web: what may not be asked for, what it costs, and a real controller that outlives its asker."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aar.auth.tokens import operator_token
from aar.campaign.costs import estimate_cost
from aar.campaign.lifecycle import draft_spec
from aar.campaign.presets import list_presets, load_preset
from aar.campaign.spec import spec_from_fields
from aar.campaign.views import get_campaign
from aar.settings import Settings
from aar.store import open_database
from aar.store.models import Campaign
from aar.web.app import create_app

from .conftest import Site

pytestmark = pytest.mark.anyio


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A home where nothing has run."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    db = open_database(f"sqlite:///{tmp_path / 'aar.db'}")
    create_app(db, home=tmp_path)
    yield Site(tmp_path, db, None)  # type: ignore[arg-type]
    db.close()


@pytest.mark.parametrize(
    ("spec", "where", "says"),
    [
        ({"problem": "/etc"}, "problem", "installed"),
        ({"problem": "../x"}, "problem", "installed"),
        ({"researchers": {"base_url": "http://evil.example"}}, "researchers.base_url", "only at the machine"),
        ({"database": "sqlite:////tmp/x.db"}, "database", "only at the machine"),
        ({"directions": {"file": "/etc/passwd"}}, "directions.file", "only at the machine"),
        ({"serve": {"host": "0.0.0.0"}}, "serve.host", "only at the machine"),
        ({"prices": {"m": {"input": 0}}}, "prices.m.input", "only at the machine"),
        ({"researchers": {"count": 501}}, "researchers.count", "less than or equal to 500"),
        ({"researchers": {"modle": "x"}}, "researchers.modle", "did you mean model?"),
        ({"researchers": {"model": "claude-opus-4-6"}}, "researchers.model", "ANTHROPIC_API_KEY"),
        ({"researchers": {"count": 400}}, "directions.deal", "distinct directions"),
        ({"limits": 7}, "limits", ""),
    ],
)
async def test_what_does_not_hold_is_told_by_field_and_starts_nothing(
    house: Site, spec: dict[str, Any], where: str, says: str
) -> None:
    async with house.client() as client:
        answer = await client.post("/api/v1/campaigns", json={"spec": spec}, headers=house.operator)
    assert answer.status_code == 422, answer.text
    assert [(each["where"], says in each["message"]) for each in answer.json()["errors"]] == [(where, True)]
    assert not (house.home / "campaigns").exists()


async def test_paid_models_need_a_limit_in_dollars(house: Site) -> None:
    settings = Settings(home=house.home, ANTHROPIC_API_KEY="sk-ant-not-a-real-key")  # type: ignore[call-arg]
    fields = {"problem": "toy", "researchers.count": 2, "researchers.model": "claude-opus-4-6"}
    assert draft_spec({**fields, "limits.usd": "9"}, settings).problems == []
    unlimited = draft_spec({**fields, "limits.usd": None}, settings)
    assert [field for field, _ in unlimited.problems] == ["limits.usd"]


def test_an_estimate_is_the_price_of_typical_turns_under_the_limits() -> None:
    def cost(**fields: Any) -> Any:
        spec, problems = spec_from_fields({name.replace("__", "."): value for name, value in fields.items()})
        assert spec is not None, problems
        return estimate_cost(spec, ("claude-opus-4-6",) * spec.researchers.count, spec.price_book())

    # 120 turns of 500 new, 4,000 written, 60,000 read and 2,000 output tokens at $5, $6.25, $0.50 and $25 a million.
    hourly = 120 * (500 * 5 + 4_000 * 6.25 + 60_000 * 0.5 + 2_000 * 25) / 1e6
    free = cost(researchers__count=2, limits__hours=3, limits__usd=None)
    assert float(free.models) == pytest.approx(hourly * 2 * 3)
    assert (free.most, free.agent_hours, free.compute) == (None, 6, 0)
    tight = cost(researchers__count=2, limits__hours=3, limits__usd=4, limits__researcher__usd=1)
    assert (tight.most, tight.expected) == (2, 2)
    cores = cost(researchers__count=2, limits__hours=3, limits__usd_per_core_hour="0.05", sandbox__cpus=4)
    assert float(cores.compute) == pytest.approx(0.05 * 4 * 2 * 3)
    assert cost(limits__hours=None).expected is None


async def test_every_ready_made_campaign_holds_and_fills_the_form(house: Site) -> None:
    assert {"quick", "overnight", "public-study"} <= set(list_presets())
    async with house.client() as client:
        for name in list_presets():
            assert draft_spec(load_preset(name), Settings(home=house.home)).spec is not None
            page = await client.get(f"/launch?start={name}")
            assert page.status_code == 200
            assert f'name="limits.hours" value="{load_preset(name)["limits.hours"]}"' in page.text
            assert 'value="start"' not in page.text
        assert (await client.get("/launch?start=../../etc/passwd")).status_code == 404


async def test_a_check_starts_nothing(house: Site) -> None:
    async with house.client() as client:
        sent = {"preset": "overnight", "spec": {"problem": "toy", "researchers": {"count": 2}}, "check_only": True}
        answer = await client.post("/api/v1/campaigns", json=sent, headers=house.operator)
        listed = await client.get("/api/v1/campaigns")
    assert (answer.status_code, answer.json()["campaign_id"], answer.json()["cost"]["most"]) == (201, None, "20")
    assert listed.json()["items"] == []


@pytest.mark.bubblewrap
@pytest.mark.slow
async def test_a_launched_campaign_runs_by_itself_once_and_keeps_the_database_secret(house: Site) -> None:
    async with house.client() as client:
        page = await client.post("/login", data={"token": operator_token(house.home), "name": "ana"})
        assert page.status_code == 303
        form = (await client.get("/launch")).text
        fields = {name: re.search(rf'name="{name}" value="([^"]+)"', form)[1] for name in ("csrf", "once")}  # type: ignore[index]
        fields |= {"name": "from the web", "problem": "toy", "action": "start", "researchers.count": "1"}
        fields |= {
            "researchers.model": "offline-search",
            "sandbox.backend": "bubblewrap",
            "directions.deal": "distinct",
        }
        fields |= {"limits.hours": "0.1", "limits.submissions": "1", "scoring.seeds": "1"}
        answers = [await client.post("/launch", data=fields) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [303, 303], answers[0].text
        where = answers[0].headers["location"]
        assert where == answers[1].headers["location"]
    campaign_id = where.rpartition("/")[2]
    log = house.home / "campaigns" / campaign_id / "controller.log"
    try:
        await asyncio.wait_for(_until_state(house, campaign_id, "finished"), 60)
        await asyncio.wait_for(_until_logged(log, "campaign finished"), 60)
    finally:
        _end(house, campaign_id)
    with house.db.reading() as session:
        assert "database" not in get_campaign(session, campaign_id).spec


async def _until_state(house: Site, campaign_id: str, state: str) -> None:
    while (await house.db.read(lambda session: get_campaign(session, campaign_id))).state != state:  # noqa: ASYNC110
        await asyncio.sleep(0.3)


async def _until_logged(log: Path, line: str) -> None:
    while line not in log.read_text():  # noqa: ASYNC110, ASYNC240 - the state is stored before the line is written
        await asyncio.sleep(0.3)


def _end(house: Site, campaign_id: str) -> None:
    """Leave no controller behind, whatever happened."""
    with house.db.reading() as session:
        controller = session.get_one(Campaign, campaign_id).controller
    if controller:
        os.kill(int(controller.rsplit(":", 2)[1]), signal.SIGINT)
