"""A campaign is held from the first moment of a start, however long that takes, and what is asked meanwhile holds."""

from __future__ import annotations

import asyncio
import subprocess
import time
from datetime import timedelta

import pytest
from sqlalchemy import update

from aar.budget.ledger import Ledger
from aar.budget.limits import Limits
from aar.campaign import controller_lock
from aar.campaign.controller.control_loop import ControlLoop, LimitMonitor
from aar.campaign.controller.service_restarts import FaultBuffer, IncidentBuffer
from aar.campaign.controller_lock import (
    HEARTBEAT_TIMEOUT,
    Heartbeat,
    controller_id,
    count_pending_requests,
    hold_campaign,
)
from aar.campaign.lifecycle import StopSignal
from aar.campaign.running_time import RunTimer
from aar.campaign.steering import send_command
from aar.campaign.views import get_campaign, list_researchers, working_researcher_ids
from aar.errors import Conflict
from aar.llm.price_book import PriceBook
from aar.problems.toy import Toy
from aar.store.column_types import now
from aar.store.database import Database
from aar.store.models import Campaign, Researcher

CAMPAIGN = "abc234"
OTHER = "elsewhere:7:9"


def _claim(database: Database) -> None:
    database.write_now(
        lambda session: controller_lock.claim_campaign(session, CAMPAIGN, Toy(), sandbox="bubblewrap", address="")
    )


def _silent_for(database: Database, silence: timedelta) -> None:
    with database.writing() as session:
        session.get_one(Campaign, CAMPAIGN).heartbeat_at = now() - silence


def _ask(database: Database, command: str) -> str:
    with database.writing() as session:
        return send_command(session, CAMPAIGN, command, "", "ana").text


def _state(database: Database) -> tuple[str, str]:
    with database.reading() as session:
        view = get_campaign(session)
        return view.state, view.cause


def test_signs_of_life_come_from_the_claim_on(database: Database) -> None:
    _claim(database)
    _silent_for(database, 2 * HEARTBEAT_TIMEOUT)
    heartbeat = Heartbeat(database, CAMPAIGN, seconds=0.01)
    heartbeat.start()
    try:
        _until_alive(database)
        assert _ask(database, "stop") == f"asked {CAMPAIGN} to stop"
        assert _state(database)[0] == "running"  # the controller ends it, nobody else
        with database.writing() as session, pytest.raises(Conflict, match="run by another"):
            controller_lock.reserve_campaign(session, CAMPAIGN, holder=OTHER)
    finally:
        heartbeat.stop()
    with database.reading() as session:
        assert count_pending_requests(session, CAMPAIGN) == 1


def test_signs_of_life_end_with_the_custody(database: Database) -> None:
    _claim(database)
    with database.writing() as session:
        session.get_one(Campaign, CAMPAIGN).controller = OTHER
    _silent_for(database, 2 * HEARTBEAT_TIMEOUT)
    heartbeat = Heartbeat(database, CAMPAIGN, seconds=0.01)
    heartbeat.start()
    heartbeat._thread.join(30)
    with database.reading() as session:
        assert not controller_lock.is_controller_alive(session.get_one(Campaign, CAMPAIGN))


def test_what_is_asked_while_a_start_is_prepared_is_said_truly_and_obeyed(database: Database) -> None:
    with hold_campaign(database, CAMPAIGN):
        with database.writing() as session, pytest.raises(Conflict, match="run by another"):
            controller_lock.reserve_campaign(session, CAMPAIGN, holder=OTHER)
        assert _ask(database, "pause") == f"{CAMPAIGN} is starting and will pause once started"
        assert _state(database)[0] == "created"
        _claim(database)  # the same process goes on, and finds what was asked
        with database.reading() as session:
            assert count_pending_requests(session, CAMPAIGN) == 1
        database.write_now(
            lambda session: controller_lock.release_campaign(session, CAMPAIGN, state="paused", cause="pause asked")
        )
    assert _state(database) == ("paused", "pause asked")


@pytest.mark.parametrize(("command", "state"), [("pause", "paused"), ("stop", "finished")])
def test_a_start_given_up_does_what_was_asked_meanwhile(database: Database, command: str, state: str) -> None:
    with hold_campaign(database, CAMPAIGN):
        _ask(database, command)
    assert _state(database) == (state, f"{command} asked by ana")
    with database.reading() as session:
        assert not controller_lock.is_controller_alive(session.get_one(Campaign, CAMPAIGN))


def test_a_start_that_was_killed_holds_nothing(database: Database) -> None:
    with subprocess.Popen(["sleep", "600"]) as starting:
        holder = controller_id(starting.pid)
        with database.writing() as session:
            controller_lock.reserve_campaign(session, CAMPAIGN, holder=holder)
        with database.reading() as session:
            assert controller_lock.is_controller_alive(session.get_one(Campaign, CAMPAIGN))
        starting.kill()
    assert controller_id(starting.pid) == ""
    assert _ask(database, "pause") == f"{CAMPAIGN} is paused now; no controller was running it"
    _claim(database)


def test_those_that_a_killed_controller_left_at_work_work_no_longer(database: Database) -> None:
    with database.reading() as session:
        assert len(working_researcher_ids(session, CAMPAIGN)) == 2
    _claim(database)
    with database.reading() as session:
        assert working_researcher_ids(session, CAMPAIGN) == []


@pytest.mark.anyio
async def test_time_that_a_researcher_waits_for_its_service_is_no_agent_hour(database: Database) -> None:
    _claim(database)
    with database.writing() as session:
        session.execute(update(Researcher).where(Researcher.campaign_id == CAMPAIGN).values(state="running"))
    ledger, resting = Ledger(database, CAMPAIGN, Limits(), PriceBook()), {f"{CAMPAIGN}-r1"}
    clock = RunTimer(0.0, None)
    attendance = ControlLoop(
        database,
        CAMPAIGN,
        clock,
        StopSignal(),
        IncidentBuffer(),
        FaultBuffer(),
        LimitMonitor(database, CAMPAIGN, ledger, clock),
        lambda _: asyncio.sleep(0),
        resting,
    )
    await attendance.send_heartbeat()
    resting.clear()
    first, second = _worked(database)
    assert (first == 0.0, second > 0.0) == (True, True)
    await attendance.send_heartbeat()
    assert _worked(database)[0] > 0.0


def _worked(database: Database) -> list[float]:
    with database.reading() as session:
        return [each.active_seconds for each in list_researchers(session, CAMPAIGN)]


def _until_alive(database: Database) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with database.reading() as session:
            if controller_lock.is_controller_alive(session.get_one(Campaign, CAMPAIGN)):
                return
        time.sleep(0.01)
    raise AssertionError("no sign of life came")
