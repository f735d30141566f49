"""Transactions through the database: async, threads, constraint errors and retries."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from aar.events import CampaignPaused
from aar.redteam.campaign_rows import add_campaign
from aar.store import Database, event_log, open_database
from aar.store.models import Campaign


@pytest.fixture
def db(sqlite_url: str) -> Iterator[Database]:
    database = open_database(sqlite_url)
    with database.writing() as session:
        add_campaign(session)
    yield database
    database.close()


def test_many_tasks_write_and_read(db: Database) -> None:
    async def main() -> int:
        async with anyio.create_task_group() as group:
            for index in range(40):
                event = CampaignPaused(cause=str(index))
                group.start_soon(
                    db.write, lambda session, event=event: event_log.append_event(session, "k3v9qd", event)
                )
        return len(await db.read(lambda session: event_log.read_events(session, "k3v9qd")))

    assert anyio.run(main) == 40


def test_a_cancelled_writer_finishes_what_it_began(db: Database) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        event_log.append_event(session, "k3v9qd", CampaignPaused(cause="kept"))
        begun.set()
        go.wait(10)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(db.write, slow)
            await anyio.to_thread.run_sync(begun.wait)
            group.cancel_scope.cancel()
            go.set()

    anyio.run(main)
    with db.reading() as session:
        assert event_log.latest_event_id(session, "k3v9qd") == 1


def test_a_writer_that_asyncio_cancels_is_waited_for(db: Database) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        event_log.append_event(session, "k3v9qd", CampaignPaused(cause="kept"))
        begun.set()
        go.wait(10)

    async def main() -> None:
        task = asyncio.create_task(db.write(slow))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, go.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        with db.reading() as session:
            assert event_log.latest_event_id(session, "k3v9qd") == 1

    asyncio.run(main())


def test_a_writer_cancelled_before_its_turn_does_nothing(db: Database) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(_: Session) -> None:
        begun.set()
        go.wait(10)

    async def main() -> None:
        first = asyncio.create_task(db.write(slow))
        await asyncio.to_thread(begun.wait)
        second = asyncio.create_task(
            db.write(lambda session: event_log.append_event(session, "k3v9qd", CampaignPaused(cause="never")))
        )
        await asyncio.sleep(0.01)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go.set()
        await first
        with db.reading() as session:
            assert event_log.latest_event_id(session, "k3v9qd") == 0

    asyncio.run(main())


def test_a_broken_constraint_stays_the_callers_error(db: Database) -> None:
    with pytest.raises(IntegrityError):
        db.write_now(lambda session: event_log.append_event(session, "no campaign", CampaignPaused(cause="x")))


def test_readers_do_not_wait_for_a_writer(db: Database) -> None:
    with db.writing() as writing:
        writing.execute(text("UPDATE campaign SET name = 'new'"))
        with db.reading() as reading:
            assert reading.scalar(text("SELECT name FROM campaign")) == "k3v9qd"


@pytest.mark.postgres
def test_a_deadlock_is_resolved_by_running_one_again(request: pytest.FixtureRequest, postgres_url: str) -> None:
    db = open_database(postgres_url)
    request.addfinalizer(db.close)
    with db.writing() as session:
        add_campaign(session, "a")
        add_campaign(session, "b")
    both_hold_one = threading.Barrier(2)
    attempts: list[str] = []

    def rename(first: str, second: str) -> None:
        def work(session: Session) -> None:
            attempts.append(first)
            session.execute(text("UPDATE campaign SET name = name || '+' WHERE id = :id"), {"id": first})
            if attempts.count(first) == 1:
                both_hold_one.wait(10)
            session.execute(text("UPDATE campaign SET name = name || '+' WHERE id = :id"), {"id": second})

        db.write_now(work)

    threads = [threading.Thread(target=rename, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.reading() as session:
        assert {row.name for row in session.query(Campaign)} == {"a++", "b++"}
    assert len(attempts) >= 3
