"""No page asks the database more often because a campaign went on for longer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import Connection, Table, event, func, insert, select

from aar.events import ToolStarted
from aar.store.column_types import now
from aar.store.models import EventRecord, LedgerEntry, Post, Submission

from .conftest import Site

pytestmark = pytest.mark.anyio
AT = "/campaigns/k3v9qd"
PAGES = {
    "campaigns": "/campaigns",
    "campaign": AT,
    "over dollars": f"{AT}?over=usd",
    "researcher": f"{AT}/researchers/r1",
    "submission": f"{AT}/submissions/1",
    "forum": f"{AT}/posts",
    "forum of one kind": f"{AT}/posts?kind=insight",
    "a search": f"{AT}/posts?q=representations",
    "post": f"{AT}/posts/1",
    "lineage": f"{AT}/lineage",
    "compare": "/compare?left=k3v9qd&right=k3v9qd",
    "sync": f"/api/v1{AT}/forum/changes?since=0&limit=5",
    "posts": f"/api/v1{AT}/posts?newest_first=true&limit=5",
}
MOST = 60
"""Statements that any page takes at most."""


@contextmanager
def statements(site: Site) -> Iterator[list[str]]:
    """What the database is asked."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    event.listen(site.db.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(site.db.engine, "before_cursor_execute", note)


async def count(site: Site, client: httpx.AsyncClient) -> dict[str, int]:
    found = {}
    for name, path in PAGES.items():
        for _ in range(2):  # what the first look keeps, the second need not ask for
            with statements(site) as asked:
                answer = await client.get(path)
            assert answer.status_code == 200, (name, answer.text)
        found[name] = len(asked)
    return found


def go_on(connection: Connection, times: int) -> None:
    """So many more posts, submissions, events and bills of the first researcher, copied from what is there."""
    posts, submissions, log, bills = (
        cast(Table, each.__table__) for each in (Post, Submission, EventRecord, LedgerEntry)
    )
    author = "k3v9qd-r1"
    at = now() + timedelta(seconds=1)
    said = {"campaign_id": "k3v9qd", "researcher_id": author, "author": "r1", "kind": "result", "created_at": at}
    connection.execute(
        insert(posts), [said | {"title": f"more {index}", "body": "As s1 and #1 say, @r2."} for index in range(times)]
    )
    connection.execute(
        insert(log),
        [
            {
                "campaign_id": "k3v9qd",
                "researcher_id": author,
                "kind": "tool_started",
                "at": at,
                "payload": ToolStarted(tool_use_id=f"more{index}", tool="bash", about="ls").model_dump(mode="json"),
            }
            for index in range(times)
        ],
    )
    model = dict(
        connection.execute(select(submissions).where(submissions.c.state == "measured")).mappings().first() or {}
    )
    last = connection.scalar(select(func.max(submissions.c.number))) or 0
    del model["id"], model["idempotency_key"]
    connection.execute(
        insert(submissions),
        [
            model | {"number": last + index, "identity": f"more {index}", "digest": f"{index:064x}"}
            for index in range(1, times + 1)
        ],
    )
    bill = {"campaign_id": "k3v9qd", "researcher_id": author, "kind": "model", "state": "settled", "settled_at": at}
    connection.execute(
        insert(bills),
        [
            bill
            | {
                "request_id": f"more {times} {index}",
                "reserved_usd": Decimal(1),
                "usd": Decimal("0.5"),
                "created_at": at,
            }
            for index in range(times)
        ],
    )


async def test_pages_of_a_long_campaign_take_no_more_statements(site: Site) -> None:
    async with site.client() as client:
        with site.db.writing() as session:
            go_on(session.connection(), 5)
        before = await count(site, client)
        with site.db.writing() as session:
            go_on(session.connection(), 40)
        assert await count(site, client) == before
    assert max(before.values()) <= MOST
