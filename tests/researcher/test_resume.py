"""A controller killed at any write is followed by one that goes on: no turn asked for twice, no effect twice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from aar.budget.totals import read_totals
from aar.forum.posts import get_thread
from aar.forum.search import list_posts
from aar.researcher.conversation import Conversation
from aar.researcher.loop import run_researcher
from aar.store.database import Database
from aar.store.event_log import read_events
from aar.store.models import Base

from ..messages_server import Turn, call, say
from .conftest import CAMPAIGN, House, Workbench, add_team

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
    """Dies at its n-th write: before it, or after it was committed; then nothing is written until ``revive``."""

    def __init__(self, file: Path) -> None:
        super().__init__(f"sqlite:///{file}")
        self._left = 0
        self._after_commit = False
        self.dead = False

    def begin_anew(self, at: int, *, after_commit: bool) -> None:
        """Forget everything, and die at the given write. The engine stays, for its compiled statements' sake."""
        with self.writing() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(text(f"DROP TRIGGER IF EXISTS {table.name}_no_delete"))
                session.execute(table.delete())
            add_team(session)
        self._left, self._after_commit, self.dead = at, after_commit, False

    def revive(self) -> None:
        """Be immortal from now on."""
        self._left, self.dead = 10**9, False

    async def write(self, fn: Callable[[Session], T]) -> T:
        self._left -= 1
        self.dead = self._left < 0 or (self._left == 0 and not self._after_commit)
        if self.dead:
            raise Killed
        result = await super().write(fn)
        if self._left == 0:
            self.dead = True
            raise Killed
        return result


def state_of(db: Database) -> dict[str, Any]:
    with db.reading() as session:
        events = [logged.event for logged in read_events(session, CAMPAIGN, limit=10_000)]
        posts = list_posts(session, CAMPAIGN)
        return {
            "posts": [(post.title, post.score, len(get_thread(session, CAMPAIGN, post.id).comments)) for post in posts],
            "turns": [event.content for event in events if event.kind == "turn_received"],
            "messages": [event.content for event in events if event.kind == "message_added"],
            "reserved": read_totals(session, CAMPAIGN).campaign.reserved_usd,
        }


async def test_every_request_follows_from_the_events_before_it(house: House) -> None:
    house.server.script = by_seen
    assert (await run_researcher(await house.context())).reason == "finished"
    with house.db.reading() as session:
        events = [logged.event for logged in read_events(session, CAMPAIGN, researcher_id=f"{CAMPAIGN}-r1", limit=1000)]
    assert "context_reset" in [event.kind for event in events]
    conversation, sent = Conversation(), iter(house.server.requests)
    for event in events:
        if event.kind == "model_called":
            assert conversation.request_messages() == next(sent)["messages"]
        conversation.apply(event)
    assert next(sent, None) is None


@pytest.mark.slow
async def test_killed_at_every_write(house: House) -> None:
    house.server.script = by_seen
    house.db.close()
    house.db = db = MortalDatabase(house.folder / "aar.db")
    db.begin_anew(0, after_commit=False)
    db.revive()
    assert (await run_researcher(await house.context())).reason == "finished"
    expected, requests = state_of(db), len(house.server.requests)
    at, died = 0, True
    while died:
        at += 1
        for after_commit in (False, True):
            db.begin_anew(at, after_commit=after_commit)
            died = await die_and_come_back(house, db)
            found = state_of(db)
            assert found == expected, (at, after_commit)
            extra = len(house.server.requests) - requests
            assert extra in ((0, 1) if died else (0,)), "at most the call in flight is made anew"
    assert at > 20


async def die_and_come_back(house: House, db: MortalDatabase) -> bool:
    """Live until the database dies, and again with a new controller; whether it died at all."""
    house.server.requests.clear()
    house.bench = Workbench()
    with suppress(Killed):
        await run_researcher(await house.context())
    died = db.dead
    db.revive()
    assert (await run_researcher(await house.context())).reason == "finished"
    assert len(house.bench.executed) <= 1
    return died
