"""What a journal holds back is written with the next transaction, once, and by nobody who stops before."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
from sqlalchemy.orm import Session

from aar.budget.ledger import WorstCase
from aar.errors import LimitReached
from aar.events import AnyEvent, ToolFinished, TurnReceived
from aar.researcher.conversation import open_conversation_log
from aar.researcher.loop import run_researcher
from aar.researcher.tools.definitions import first_tool_started
from aar.researcher.tools.executor import UNKNOWN_EFFECT
from aar.store.database import Database
from aar.store.event_log import read_events

from ..messages_server import Turn, call, say
from .conftest import CAMPAIGN, House

pytestmark = pytest.mark.anyio
R1 = f"{CAMPAIGN}-r1"
T = TypeVar("T")
BASH, FINISH = Turn([call(1, "bash", command="make")]), Turn([call(2, "finish", summary="done")])


def logged(db: Database) -> list[AnyEvent]:
    with db.reading() as session:
        return [each.event for each in read_events(session, CAMPAIGN, researcher_id=R1, limit=1000)]


def kinds(events: Sequence[AnyEvent]) -> list[str]:
    return [event.kind for event in events]


def finished(number: int) -> ToolFinished:
    return ToolFinished(tool_use_id=f"toolu_{number}", tool="bash", content=[], is_error=False, seconds=1.0)


async def test_held_events_go_first_and_once(house: House) -> None:
    journal = await open_conversation_log(house.db, CAMPAIGN, R1)
    journal.buffer(finished(1))
    journal.buffer(finished(2))
    assert logged(house.db) == []

    def refused(_: Session) -> Sequence[AnyEvent]:
        raise LookupError

    with pytest.raises(LookupError):
        await journal.write(refused)
    assert logged(house.db) == []
    await journal.record(finished(3))
    await journal.flush()
    assert logged(house.db) == [finished(1), finished(2), finished(3)]


class CountingDatabase(Database):
    """Counts the transactions that write."""

    writes = 0

    async def write(self, fn: Callable[[Session], T]) -> T:
        self.writes += 1
        return await super().write(fn)


async def test_a_turn_with_a_tool_writes_twice(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aar.researcher.turn._PROGRESS_SECONDS", 3600.0)  # a busy machine shows what a slow reply does
    counts: list[int] = []
    house.db.close()
    house.db = db = CountingDatabase(house.db.url)
    for index, turns in ((1, 1), (2, 5)):
        house.server.play(*(Turn([call(number, "bash", command=f"make {number}")]) for number in range(turns)), FINISH)
        ctx, before = await house.context(index), db.writes
        assert (await run_researcher(ctx)).reason == "finished"
        counts.append(db.writes - before)
    assert counts[1] - counts[0] == 2 * 4
    assert kinds(logged(db)) == [
        *("message_added", "model_called", "turn_received", "tool_started"),
        *("tool_finished", "model_called", "turn_received", "tool_started", "tool_finished"),
    ]


async def test_a_result_is_written_though_the_next_call_may_not_be_made(house: House) -> None:
    house.server.by_turn(BASH, FINISH)
    outcome = await run_researcher(await house.context(limits={"tokens": 40_000, "researcher": {"turns": 1}}))
    assert outcome.reason == "limit", outcome
    assert kinds(logged(house.db))[-3:] == ["tool_started", "tool_finished", "limit_hit"]


async def test_a_result_is_written_before_a_pause(house: House) -> None:
    house.server.by_turn(BASH, FINISH)
    ctx = await house.context()

    async def pause() -> None:
        ctx.stopping.set()

    house.bench.on_exec = pause
    assert (await run_researcher(ctx)).reason == "paused"
    assert kinds(logged(house.db))[-2:] == ["tool_started", "tool_finished"]


async def test_what_is_announced_is_carried_out_though_a_pause_comes_between(house: House) -> None:
    house.server.by_turn(BASH, FINISH)
    ctx = await house.context()

    class Pausing(Database):
        """Asks for a pause as soon as a turn is in the log."""

        async def write(self, fn: Callable[[Session], T]) -> T:
            result = await super().write(fn)
            if "turn_received" in kinds(logged(house.db)):
                ctx.stopping.set()
            return result

    db = Pausing(house.db.url)
    ctx = await house.context(db=db)
    assert (await run_researcher(ctx)).reason == "paused"
    db.close()
    assert len(house.bench.executed) == 1
    assert kinds(logged(house.db))[-2:] == ["tool_started", "tool_finished"]


async def test_a_pause_before_the_turn_is_written_begins_nothing(house: House) -> None:
    house.server.by_turn(BASH, FINISH)
    ctx = await house.context()

    async def pause() -> None:
        ctx.stopping.set()

    house.server.before_reply = pause
    assert (await run_researcher(ctx)).reason == "paused"
    assert kinds(logged(house.db))[-1] == "turn_received"
    house.server.before_reply = None
    assert (await run_researcher(await house.context())).reason == "finished"
    assert len(house.bench.executed) == 1


async def test_cut_off_between_a_tool_and_its_record_the_effect_is_unknown(house: House) -> None:
    house.server.by_turn(BASH, FINISH)

    async def die() -> None:
        raise asyncio.CancelledError

    house.bench.on_exec = die
    with pytest.raises(asyncio.CancelledError):
        await run_researcher(await house.context())
    house.bench.on_exec = None
    assert (await run_researcher(await house.context())).reason == "finished"
    results = [event.content for event in logged(house.db) if isinstance(event, ToolFinished)]
    assert results[0] == [{"type": "text", "text": UNKNOWN_EFFECT}]
    assert len(house.bench.executed) == 1


async def test_a_write_cut_off_by_asyncio_writes_the_held_once(house: House) -> None:
    begun, go = threading.Event(), threading.Event()

    def slowly(_: Session) -> Sequence[AnyEvent]:
        begun.set()
        go.wait(10)
        return [finished(2)]

    journal = await open_conversation_log(house.db, CAMPAIGN, R1)
    journal.buffer(finished(1))
    writing = asyncio.create_task(journal.write(slowly))
    await asyncio.to_thread(begun.wait)
    writing.cancel()
    asyncio.get_running_loop().call_later(0.05, go.set)
    with pytest.raises(asyncio.CancelledError):
        await writing
    await journal.flush()
    assert logged(house.db) == [finished(1), finished(2)]


@pytest.mark.parametrize(
    ("content", "stop_reason", "about"),
    [
        ([say("x"), call(1, "bash", command="a\nb"), call(2, "budget")], "tool_use", "a b"),
        ([call(1, "bash", nonsense=1)], "tool_use", None),
        ([call(1, "nonsense")], "tool_use", None),
        ([call(1, "bash", command="cut")], "max_tokens", None),
        ([call(1, "bash", command="a")], "refusal", None),
        ([say("x")], "end_turn", None),
    ],
)
def test_only_a_call_that_will_run_is_announced(
    content: list[dict[str, object]], stop_reason: str, about: str | None
) -> None:
    turn = TurnReceived(
        request_id="r",
        model="m",
        content=content,
        stop_reason=stop_reason,
        output_tokens=1,
        usd="0",  # type: ignore[arg-type]
    )
    begun = first_tool_started(turn)
    assert (begun.about if begun else None) == about


async def test_a_limit_met_leaves_the_held_for_the_flush(house: House) -> None:
    ctx = await house.context(limits={"tokens": 1})
    journal = await open_conversation_log(house.db, CAMPAIGN, R1)
    journal.buffer(finished(1))
    with pytest.raises(LimitReached):
        await ctx.ledger.reserve(
            WorstCase("model", "m", 10, 10),
            "a",
            R1,
            lambda session: bool(journal.append_with_buffered(session)) or True,
        )
    assert logged(house.db) == []
    await journal.flush()
    assert logged(house.db) == [finished(1)]
