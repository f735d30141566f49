"""Watchers hear of what their own process writes without waiting for the next poll, and of nothing once they leave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from aar.events import CampaignPaused
from aar.redteam.campaign_rows import add_campaign
from aar.store import event_log, open_database
from aar.store.database import Database
from aar.store.event_log import LoggedEvent, append_event
from aar.web import event_feed as feeding
from aar.web.event_feed import EventFeed

from ..waiting import until

pytestmark = pytest.mark.anyio
CAMPAIGN = "k3v9qd"
AGES = 3600.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'aar.db'}")
    with opened.writing() as session:
        add_campaign(session, CAMPAIGN)
    yield opened
    opened.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """After which event a feed read the log, each time. What is written after its first look must wake it."""
    seen: list[int] = []
    read = event_log.read_events

    def noted(session: Session, campaign_id: str, *, after: int, limit: int) -> list[LoggedEvent]:
        seen.append(after)
        return read(session, campaign_id, after=after, limit=limit)

    monkeypatch.setattr(feeding, "read_events", noted)
    return seen


def happen(db: Database, cause: str) -> int:
    with db.writing() as session:
        return append_event(session, CAMPAIGN, CampaignPaused(cause=cause))


async def test_own_writes_are_heard_between_polls(
    db: Database, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "_POLL_SECONDS", AGES)
    feed = EventFeed(db)
    watching = feed.follow(CAMPAIGN, 0, idle=AGES)
    first = asyncio.create_task(anext(watching))
    for cause in ("from a thread", "from the loop"):
        await until(lambda: looks)
        number = await asyncio.to_thread(happen, db, cause) if "thread" in cause else happen(db, cause)
        async with asyncio.timeout(60):
            seen = await first
        assert seen is not None
        assert (seen.id, seen.event.kind) == (number, "campaign_paused")
        first = asyncio.create_task(anext(watching))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await watching.aclose()
    assert db._listeners == ()


async def test_asynchronous_writes_are_heard_too(
    db: Database, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "_POLL_SECONDS", AGES)
    feed = EventFeed(db)
    watching = feed.follow(CAMPAIGN, 0, idle=AGES)
    first = asyncio.create_task(anext(watching))
    await until(lambda: looks)
    await db.write(lambda session: append_event(session, CAMPAIGN, CampaignPaused(cause="now")))
    async with asyncio.timeout(60):
        assert await first is not None
    feed.close()
    assert db._listeners == ()
    await watching.aclose()


async def test_other_processes_are_heard_by_polling(db: Database, looks: list[int]) -> None:
    other = Database(db.url)
    feed = EventFeed(db)
    watching = feed.follow(CAMPAIGN, 0, idle=AGES)
    first = asyncio.create_task(anext(watching))
    await until(lambda: looks)
    happen(other, "elsewhere")
    async with asyncio.timeout(60):
        assert await first is not None
    await watching.aclose()
    other.close()


async def test_a_cursor_beyond_the_log_holds_up_nobody_else(db: Database) -> None:
    newest = happen(db, "before")
    feed = EventFeed(db)
    ahead, honest = (feed.follow(CAMPAIGN, after, idle=AGES) for after in (10**15, newest))
    first = asyncio.create_task(anext(ahead))
    await until(lambda: feed._tails)
    second = asyncio.create_task(anext(honest))
    await until(lambda: feed._tails[CAMPAIGN].watchers == 2)
    assert feed.newest_event_id(CAMPAIGN) == newest
    number = happen(db, "now")
    async with asyncio.timeout(60):
        seen = await second
    assert seen is not None
    assert seen.id == number
    assert feed.newest_event_id(CAMPAIGN) == number
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await ahead.aclose()
    await honest.aclose()


@pytest.mark.parametrize("rounds", range(5))
async def test_a_feed_ends_though_news_come_as_its_last_watcher_leaves(
    db: Database, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    monkeypatch.setattr(feeding, "_POLL_SECONDS", AGES)
    newest = happen(db, "before")
    feed = EventFeed(db)
    watching = feed.follow(CAMPAIGN, newest, idle=AGES)
    first = asyncio.create_task(anext(watching))
    await until(lambda: feed._tails and feed._tails[CAMPAIGN].nudged._waiters)  # type: ignore[attr-defined]
    feed._tails[CAMPAIGN].nudged.set()
    for _ in range(rounds):
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    feed.close()
    async with asyncio.timeout(20):
        await feed.ended()
    assert feed._polls == set()
    await watching.aclose()
    assert [each async for each in feed.follow(CAMPAIGN, newest, idle=AGES)] == []


async def test_a_follower_of_the_log_that_nobody_cancelled_ends_when_its_last_watcher_left(db: Database) -> None:
    feed = EventFeed(db)
    watching = feed.follow(CAMPAIGN, happen(db, "before"), idle=AGES)
    first = asyncio.create_task(anext(watching))
    await until(lambda: feed._tails)
    forgotten = asyncio.create_task(feed._poll(CAMPAIGN, feed._tails[CAMPAIGN]))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await watching.aclose()
    async with asyncio.timeout(20):
        await forgotten
