"""A real campaign steered while it runs: real sandboxes, a real model server, real scores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy.orm import Session

from aar.campaign.controller.controller import RunningCampaign
from aar.campaign.lifecycle import CampaignEnding, create_campaign
from aar.campaign.preflight import run_preflight
from aar.campaign.spec import CampaignSpec, load_spec, override_stored_spec
from aar.campaign.steering import add_researchers, change_limits, send_command
from aar.campaign.views import list_researchers
from aar.cli.running.run_campaign import run_campaign
from aar.events import MessageAdded
from aar.sandbox.bubblewrap import BubblewrapBackend
from aar.settings import Settings
from aar.store.event_log import read_events
from aar.store.models import Campaign, Submission

pytestmark = [pytest.mark.bubblewrap, pytest.mark.slow]

ANA = "human:ana"
T = TypeVar("T")
SPEC: dict[str, Any] = {
    "problem": "toy",
    "researchers.count": 2,
    "sandbox.backend": "bubblewrap",
    "serve.enabled": False,
    "limits.submissions": 100,
    "limits.hours": 0.2,
    "limits.usd": None,
    "scoring.seeds": 1,
    "scoring.confirm_top": 0,
    "seed": 5,
}


class Person:
    """Somebody who steers the campaign beside its controller, through the database only."""

    def __init__(self, running: RunningCampaign) -> None:
        self.id = running.campaign_id
        self._db = running.database

    async def read(self, fn: Callable[[Session], T]) -> T:
        return await self._db.read(fn)

    async def ask(self, command: str, researcher: str = "", words: str = "") -> None:
        await self._db.write(lambda session: send_command(session, self.id, command, words, ANA, researcher))

    async def states(self) -> dict[str, str]:
        return {view.name: view.state for view in await self.read(lambda s: list_researchers(s, self.id))}

    async def until(self, name: str, *states: str) -> None:
        while (await self.states()).get(name) not in states:  # noqa: ASYNC110 - another process would poll as well
            await asyncio.sleep(0.1)

    async def until_told(self, name: str, words: str) -> None:
        def told(session: Session) -> bool:
            found = read_events(
                session, self.id, researcher_id=f"{self.id}-{name}", kinds=["message_added"], limit=10_000
            )
            said = [each.event.content for each in found if isinstance(each.event, MessageAdded)]
            return any(words in block["text"] for content in said for block in content)

        while not await self.read(told):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def _campaign(
    settings: Settings,
    act: Callable[[Person], Any],
    changes: dict[str, Any] | None = None,
    *,
    spec: CampaignSpec | None = None,
    campaign_id: str = "",
) -> tuple[str, CampaignEnding, list[BaseException]]:
    plan = await run_preflight(spec or load_spec(None, {**SPEC, **(changes or {})}), settings)
    trouble: list[BaseException] = []

    async def person(running: RunningCampaign) -> None:
        try:
            await asyncio.wait_for(act(Person(running)), 60)
        except Exception as error:  # noqa: BLE001 - told by the test
            trouble.append(error)
            running.stop.pause("the test's person failed")
        await asyncio.Event().wait()

    try:
        campaign_id = campaign_id or await plan.database.write(lambda session: create_campaign(session, plan))
        return campaign_id, await run_campaign(plan, campaign_id, companions=[person]), trouble
    finally:
        plan.database.close()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.setenv("AAR_HOME", str(tmp_path / "home"))
    return Settings()


def test_a_person_steers_single_researchers_and_the_team(settings: Settings) -> None:
    async def act(person: Person) -> None:
        await person.until("r1", "running", "waiting")
        await person.ask("message", "r1", "Please look at neighbours.")
        await person.until_told("r1", "human:ana, a person, wrote to you:\nPlease look at neighbours.")
        await person.ask("pause", "r1", "let r2 catch up")
        await person.until("r1", "paused")
        made, heard = await person._db.write(lambda s: add_researchers(s, person.id, 1, ANA))
        assert (made[0].name, heard) == ("r3", True)
        await person.until("r3", "running", "waiting")
        assert (await person.states())["r1"] == "paused"
        await person.ask("redirect", "r2", "Forget it all; permute the labels.")
        await person.until_told("r2", "permute the labels")
        await person.ask("resume", "r1")
        await person.until("r1", "running", "waiting")
        await person.ask("remove", "r3")
        await person.until("r3", "finished")
        await person.ask("stop", "r2")
        await person.until("r2", "finished")
        await person.ask("stop")

    campaign_id, ending, trouble = asyncio.run(_campaign(settings, act))
    assert trouble == []
    assert ending == CampaignEnding("finished", "stop asked by human:ana")
    db_read = _read(settings)
    team = db_read(lambda session: list_researchers(session, campaign_id))
    assert {view.name: view.cause for view in team if view.name != "r1"} == {
        "r2": "stop asked by human:ana",
        "r3": "remove asked by human:ana",
    }
    assert asyncio.run(BubblewrapBackend().list(campaign_id)) == []
    assert override_stored_spec(db_read(lambda s: s.get_one(Campaign, campaign_id).spec), {}).researchers.count == 3


def test_a_limit_is_lifted_while_the_campaign_waits_and_the_work_goes_on(settings: Settings) -> None:
    async def act(person: Person) -> None:
        # Held, so that the campaign waits for a person and does not pause when the other one meets its limit.
        await person.ask("pause", "r2")
        await person.until("r1", "paused")
        assert "turns" in (await person.read(lambda s: list_researchers(s, person.id)))[0].cause
        await person._db.write(lambda s: change_limits(s, person.id, {"researcher.turns": None, "submissions": 1}, ANA))
        await person.until("r1", "finished")
        await person.ask("stop", "r2")

    campaign_id, ending, trouble = asyncio.run(_campaign(settings, act, {"limits.researcher.turns": 2}))
    assert trouble == []
    assert ending.state == "finished"
    handed_in = _read(settings)(lambda session: session.query(Submission).filter_by(campaign_id=campaign_id).count())
    assert handed_in == 1


def test_what_was_asked_while_no_controller_lived_holds_at_the_next_start(settings: Settings) -> None:
    """As after `kill -9`: nothing but the database tells the next controller."""

    async def act(person: Person) -> None:
        await person.until("r3", "running", "waiting", "finished")
        await person.until("r2", "paused")
        await person.until_told("r1", "Begin with the mean.")
        await person.ask("stop")

    async def scene() -> tuple[str, CampaignEnding, list[BaseException]]:
        first = await run_preflight(load_spec(None, SPEC), settings)
        campaign_id = await first.database.write(lambda session: create_campaign(session, first))

        def asked(session: Session) -> Any:
            send_command(session, campaign_id, "pause", "later", ANA, "r2")
            send_command(session, campaign_id, "message", "Begin with the mean.", ANA, "r1")
            add_researchers(session, campaign_id, 1, ANA)
            change_limits(session, campaign_id, {"submissions": 50}, ANA)
            return session.get_one(Campaign, campaign_id).spec

        spec = await first.database.write(asked)
        first.database.close()
        await first.backend.close()
        return await _campaign(settings, act, spec=override_stored_spec(spec, {}), campaign_id=campaign_id)

    campaign_id, ending, trouble = asyncio.run(scene())
    assert trouble == []
    assert ending.state == "finished"
    team = _read(settings)(lambda session: list_researchers(session, campaign_id))
    assert {view.name: view.state for view in team}["r2"] == "paused"


def _read(settings: Settings) -> Callable[[Callable[[Session], T]], T]:
    from aar.store import open_database

    def read_once(fn: Callable[[Session], T]) -> T:
        db = open_database(settings.database_url)
        try:
            with db.reading() as session:
                return fn(session)
        finally:
            db.close()

    return read_once
