"""A controller killed at any write is followed by one that goes on: no turn asked for twice, no effect twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy.orm import Session

from aar.budget.totals import totals
from aar.forum.posts import get_thread, list_posts
from aar.researcher import run_researcher
from aar.researcher.conversation import Conversation
from aar.store.database import Database
from aar.store.event_log import read
from aar.store.models import LedgerEntry

from .conftest import CAMPAIGN, House, Workbench, make_database
from .messages_server import Turn, call, say

pytestmark = pytest.mark.anyio
T = TypeVar("T")

THINKING = {"type": "thinking", "thinking": "let me see", "signature": "c2ln"}
STORY = (
    Turn([THINKING, say("First."), call(1, "post", kind="hypothesis", title="T", body="B"), call(2, "budget")]),
    Turn([call(3, "comment", post=1, body="and more"), call(4, "nonsense"), call(5, "vote", post=1, value=1)]),
    Turn([say("no tool")]),
    Turn([call(6, "bash", command="make"), call(7, "post", kind="result", title="cut", body="x")], "max_tokens"),
    Turn([call(8, "post", kind="result", title="R", body="B2")], usage={"input_tokens": 99_000, "output_tokens": 5}),
    Turn([call(9, "budget")], usage={"input_tokens": 900, "output_tokens": 5}),
    Turn([call(10, "finish", summary="done")]),
)


def by_seen(request: dict[str, Any]) -> Turn:
    """The turn after the last one that the request shows, wherever the conversation was handed over."""
    shown = [
        block.get("text", block.get("id"))
        for m in request["messages"]
        if m["role"] == "assistant"
        for block in m["content"]
    ]
    told = [
        index for index, turn in enumerate(STORY) if turn.content[-1].get("text", turn.content[-1].get("id")) in shown
    ]
    return STORY[max(told) + 1 if told else 0]


class Killed(BaseException):
    """The controller died here."""


class MortalDatabase(Database):
    """Dies at its n-th write: before it, or after it was committed; from then on nothing is written."""

    def __init__(self, url: str, at: int, *, after_commit: bool) -> None:
        super().__init__(url)
        self._left = at
        self._after_commit = after_commit

    async def write(self, fn: Callable[[Session], T]) -> T:
        self._left -= 1
        if self._left < 0 or (self._left == 0 and not self._after_commit):
            raise Killed
        result = await super().write(fn)
        if self._left == 0:
            raise Killed
        return result


def state_of(db: Database) -> dict[str, Any]:
    with db.reading() as session:
        events = [logged.event for logged in read(session, CAMPAIGN, limit=10_000)]
        posts = list_posts(session, CAMPAIGN)
        return {
            "posts": [(post.title, post.score, len(get_thread(session, CAMPAIGN, post.id).comments)) for post in posts],
            "turns": [event.content for event in events if event.kind == "turn_received"],
            "messages": [event.content for event in events if event.kind == "message_added"],
            "settled": session.query(LedgerEntry).where(LedgerEntry.state == "settled").count(),
            "reserved": totals(session, CAMPAIGN).campaign.reserved_usd,
        }


async def run_on(house: House, db: Database) -> str:
    ctx = await house.context(db=db, ledger=None)
    return (await run_researcher(ctx)).reason


async def test_every_request_follows_from_the_events_before_it(house: House) -> None:
    house.server.script = by_seen
    assert (await run_researcher(await house.context())).reason == "finished"
    with house.db.reading() as session:
        events = [logged.event for logged in read(session, CAMPAIGN, researcher_id=f"{CAMPAIGN}-r1", limit=1000)]
    assert "context_reset" in [event.kind for event in events]
    conversation, sent = Conversation(), iter(house.server.requests)
    for event in events:
        if event.kind == "model_called":
            assert conversation.request_messages() == next(sent)["messages"]
        conversation.apply(event)
    assert next(sent, None) is None


async def test_killed_at_every_write(house: House, tmp_path: Path) -> None:
    house.server.script = by_seen
    assert await run_on(house, house.db) == "finished"
    expected, requests = state_of(house.db), list(house.server.requests)
    make_database(house.folder / "empty.db").close()
    at, deaths = 0, 0
    while at == 0 or deaths == 2 * at:
        at += 1
        for after_commit in (False, True):
            died = await life_and_afterlife(
                house, tmp_path / f"{at}-{after_commit}.db", at, after_commit, expected, requests
            )
            deaths += died
    assert at > 30


async def life_and_afterlife(
    house: House, file: Path, at: int, after_commit: bool, expected: dict[str, Any], requests: list[Any]
) -> bool:
    """Die at the given write and come back; whether it died at all."""
    house.server.requests.clear()
    house.bench = Workbench()
    shutil.copy(house.folder / "empty.db", file)
    mortal = MortalDatabase(f"sqlite:///{file}", at, after_commit=after_commit)
    house.db = mortal
    died = False
    try:
        await run_on(house, mortal)
    except Killed:
        died = True
    mortal.close()
    house.db = Database(f"sqlite:///{file}")
    try:
        assert await run_on(house, house.db) == "finished"
        state = state_of(house.db)
    finally:
        house.db.close()
    assert state["posts"] == expected["posts"], (at, after_commit)
    assert state["turns"] == expected["turns"], (at, after_commit)
    assert state["messages"] == expected["messages"], (at, after_commit)
    assert state["reserved"] == 0
    assert len(house.bench.executed) <= 1
    extra = len(house.server.requests) - len(requests)
    assert extra in ((0, 1) if died else (0,)), "at most the call in flight is made anew"
    return died
