"""Alerts on the way to a limit, the soft landing, and the look ahead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from aar.budget.ledger import Ledger, WorstCase
from aar.budget.limits import Limits
from aar.campaign.controller.control_loop import LimitMonitor
from aar.campaign.costs import forecast_budget
from aar.campaign.running_time import RunTimer
from aar.events import CampaignStarted, LimitNear
from aar.llm.price_book import ModelPrice, PriceBook
from aar.llm.usage import Usage
from aar.store import open_database
from aar.store.database import Database
from aar.store.event_log import append_event, read_events
from aar.store.models import Campaign, Researcher

pytestmark = pytest.mark.anyio

CAMPAIGN = "k3v9qd"
RESEARCHER = f"{CAMPAIGN}-r1"
PRICES = PriceBook({"m": ModelPrice(*(Decimal(figure) for figure in (1, 1, 1, 1, 1)))})


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'aar.db'}")
    with opened.writing() as session:
        session.add(Campaign(id=CAMPAIGN, name="c", problem="toy", spec={}, state="running", secret="s" * 64))
        session.flush()
        session.add(
            Researcher(
                id=RESEARCHER,
                campaign_id=CAMPAIGN,
                name="r1",
                index=1,
                direction_key="d",
                direction="d",
                model="m",
                state="running",
            )
        )
        session.flush()
        append_event(session, CAMPAIGN, CampaignStarted(pid=1, sandbox="none"))
    yield opened
    opened.close()


async def spend(db: Database, ledger: Ledger, tokens: int, name: str) -> None:
    """One dollar a million tokens."""
    await ledger.reserve(WorstCase("model", "m", tokens, 0), name, RESEARCHER)
    with db.writing() as session:
        ledger.settle_in(session, name, Usage(input_tokens=tokens), 1.0)


async def opened(
    db: Database, hours: float | None = None, ran: float = 0.0, **limits: object
) -> tuple[Ledger, LimitMonitor]:
    ledger = Ledger(db, CAMPAIGN, Limits.model_validate({"usd": None, "hours": hours, **limits}), PRICES)
    await ledger.load()
    return ledger, LimitMonitor(db, CAMPAIGN, ledger, RunTimer(ran, hours))


def alerts(db: Database) -> list[tuple[str, int]]:
    with db.reading() as session:
        events = [logged.event for logged in read_events(session, CAMPAIGN, after=0, limit=100)]
    return [(event.limit, event.percent) for event in events if isinstance(event, LimitNear)]


async def test_each_threshold_is_told_once_also_after_a_restart(db: Database) -> None:
    ledger, watch = await opened(db, usd="10")
    await spend(db, ledger, 4_900_000, "a")
    await watch.check()
    assert alerts(db) == []
    await spend(db, ledger, 200_000, "b")
    await watch.check()
    await watch.check()
    assert alerts(db) == [("usd", 50)]
    again, watch = await opened(db, usd="10")
    await spend(db, again, 4_500_000, "c")
    await watch.check()
    assert alerts(db) == [("usd", 50), ("usd", 95)]
    await watch.check()
    assert len(alerts(db)) == 2


async def test_hours_are_watched_too(db: Database) -> None:
    _, watch = await opened(db, hours=1.0, ran=3000.0)
    await watch.check()
    assert alerts(db) == [("hours", 80)]


@pytest.mark.parametrize(
    ("limits", "spent", "near"),
    [
        ({"usd": "10"}, 8_900_000, None),
        ({"usd": "10"}, 9_000_000, "90 % of the limit usd of the campaign"),
        ({"researcher": {"usd": "10"}}, 9_500_000, "95 % of the limit usd of yours"),
        ({"tokens": 1000}, 950, "95 % of the limit tokens"),
        ({"usd_per_agent_hour": "10"}, 9_900_000, None),
    ],
)
async def test_a_researcher_is_asked_to_land_before_the_end(
    db: Database, limits: dict[str, object], spent: int, near: str | None
) -> None:
    ledger, watch = await opened(db, **limits)
    await spend(db, ledger, spent, "a")
    told = await watch.approaching_limit(RESEARCHER)
    assert (told is None) if near is None else near in str(told)


@pytest.mark.parametrize(
    ("hours", "ran", "near"), [(10.0, 31_000, False), (10.0, 33_000, True), (0.1, 250, False), (0.1, 280, True)]
)
async def test_time_to_write_up_is_a_tenth_and_never_too_short(
    db: Database, hours: float, ran: float, near: bool
) -> None:
    _, watch = await opened(db, hours=hours, ran=ran)
    assert (await watch.approaching_limit(RESEARCHER) is not None) is near


async def test_before_the_first_minute_nothing_is_foretold_but_the_clock(db: Database) -> None:
    with db.reading() as session:
        ahead = forecast_budget(session, CAMPAIGN, Limits(usd=Decimal(5), hours=2))
    assert ahead.usd_per_hour is None
    assert (ahead.limit, round(ahead.hours_left or 0, 2)) == ("hours", 2.0)
