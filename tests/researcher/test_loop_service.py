"""A service or an engine that refuses, breaks off, is away or is somewhere else: what becomes of a researcher."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy.orm import Session

from aar.budget.totals import read_totals
from aar.errors import BackendAway, DatabaseError
from aar.llm.concurrency_limiter import ServiceOutageMonitor
from aar.researcher import turn
from aar.researcher.loop import run_researcher
from aar.store.database import Database
from aar.store.models import LedgerEntry

from ..messages_server import Raw, Refusal, Turn, call, say
from ..waiting import until
from .conftest import CAMPAIGN, House
from .test_loop import FINISH, entries, kinds

pytestmark = pytest.mark.anyio
T = TypeVar("T")


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
async def test_refused_attempt_is_made_again_under_one_reservation(house: House, status: int) -> None:
    house.server.play(Refusal(status), Refusal(status), FINISH)
    assert (await run_researcher(await house.context())).reason == "finished"
    assert [state for state, _ in entries(house)] == ["settled"]
    assert len(house.server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refusal_for_good_ends_it_unbilled(house: House, status: int) -> None:
    house.server.play(Refusal(status, "nope"))
    outcome = await run_researcher(await house.context())
    assert outcome.reason == "failed"
    assert "nope" in outcome.detail
    assert entries(house) == [("released", 0)]
    assert kinds(house)[-1] == "model_call_failed"


@pytest.mark.parametrize("headers", [{}, {"retry-after": "86400"}])
async def test_a_service_that_is_away_for_too_long_costs_time_only(house: House, headers: dict[str, str]) -> None:
    house.server.script = lambda _: Refusal(529, headers=headers)
    outcome = await run_researcher(await house.context(deadline=0.2))
    assert outcome.reason == "away"
    assert [state for state, _ in entries(house)] == ["released"]
    house.server.script = lambda _: FINISH
    assert (await run_researcher(await house.context(deadline=0.3))).reason == "finished"


async def test_an_engine_that_stays_away_pauses_and_fails_nobody(house: House) -> None:
    async def away(cause: str = "") -> Any:
        raise BackendAway("the engine does not answer")

    house.server.by_turn(Turn([call(1, "bash", command="date")]), FINISH)
    bench, house.bench.current = house.bench.current, away  # type: ignore[method-assign]
    outcome = await run_researcher(await house.context())
    assert (outcome.reason, outcome.detail) == ("away", "the engine does not answer")
    house.bench.current = bench  # type: ignore[method-assign]
    assert (await run_researcher(await house.context())).reason == "finished"
    assert len(house.server.requests) == 2


async def test_a_wrong_address_fails_unless_calls_succeeded_there(house: House) -> None:
    house.server.script = lambda _: Raw(b"<html>hello</html>", "text/html")
    outcome = await run_researcher(await house.context(deadline=0.1))
    assert (outcome.reason, "hello" in outcome.detail) == ("failed", True)
    house.server.play(Turn([call(1, "budget")]), *[Raw(b"<html>hello</html>", "text/html")] * 50)
    assert (await run_researcher(await house.context(deadline=0.2))).reason == "away"
    assert "lost" not in {state for state, _ in entries(house)}


async def test_one_whose_calls_fail_while_others_are_answered_fails(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aar.researcher.loop._MAX_BACKOFF_SECONDS", 0.01)
    house.server.script = lambda _: Refusal(500)
    ctx = await house.context(deadline=0.05, patience=3)

    async def answered() -> None:
        ctx.gateway.outages.record_reply()

    house.server.before_reply = answered
    outcome = await run_researcher(ctx)
    assert outcome.reason == "failed"
    assert outcome.detail.startswith("3 calls in a row failed while others were answered")


@pytest.mark.parametrize(
    ("turn", "told"),
    [
        (Turn([call(1, "budget")], raw_input="[" * 100_000), "unreadable"),
        (Turn([say("Again."), call(1, "leaderboard")]), "repeated"),
    ],
)
async def test_unreadable_and_repeated_turns_come_to_an_end(
    house: House, monkeypatch: pytest.MonkeyPatch, turn: Turn, told: str
) -> None:
    monkeypatch.setattr("aar.researcher.loop._MAX_BACKOFF_SECONDS", 0.01)
    house.server.script = lambda _: turn
    outcome = await run_researcher(await house.context())
    assert (outcome.reason, outcome.detail) == ("failed", f"9 replies in a row were {told}")
    assert kinds(house).count("context_reset") == 1


@pytest.mark.parametrize(
    ("after", "breaking"),
    [(0, "drop"), (0, "silence"), *((n, how) for n in (1, 4) for how in ("drop", "error", "silence"))],
)
async def test_broken_stream_is_charged_and_asked_for_anew(
    house: House, monkeypatch: pytest.MonkeyPatch, after: int, breaking: str
) -> None:
    monkeypatch.setattr("aar.researcher.loop._MAX_BACKOFF_SECONDS", 0.01)
    broken = Turn([say("I was about to")], breaks_after=after, breaking=breaking)
    house.server.play(broken, FINISH)
    assert (await run_researcher(await house.context(timeout=0.3))).reason == "finished"
    assert entries(house) == [("settled", 1000), ("settled", 50)]
    with house.db.reading() as session:
        first, _ = session.query(LedgerEntry).order_by(LedgerEntry.id)
    assert 0 < first.usd <= first.reserved_usd
    assert house.server.requests[0] == house.server.requests[1]


async def test_streams_that_all_break_are_waited_for_as_long_as_a_service_that_says_no(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aar.researcher.loop._MAX_BACKOFF_SECONDS", 0.01)
    house.server.script = lambda _: Turn([say("I was about to")], breaks_after=0)
    outcome = await asyncio.wait_for(run_researcher(await house.context(deadline=0.2, patience=10_000)), 60)
    assert outcome.reason == "away"
    # A call that waited in line until the patience ended was never sent.
    assert {"settled"} <= {state for state, _ in entries(house)} <= {"settled", "released"}


async def test_connections_that_are_cut_before_any_reply_are_an_outage_that_people_see(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aar.researcher.loop._MAX_BACKOFF_SECONDS", 0.01)
    house.server.play(Raw(None), Raw(None), FINISH)
    ctx = await house.context()
    told: list[str] = []
    ctx.gateway.outages = ServiceOutageMonitor("the service", lambda event: told.append(event.kind))
    assert (await run_researcher(ctx)).reason == "finished"
    assert told == ["model_service_unavailable", "model_service_recovered"]
    assert len(entries(house)) == 3  # each cut call may be billed, and is in the ledger


async def test_pause_while_the_service_is_away_owes_nothing(house: House) -> None:
    ctx = await house.context(deadline=1000.0)
    house.server.script = lambda _: Refusal(529, headers={"retry-after": "600"})

    async def stop_soon() -> None:
        await until(lambda: bool(house.server.requests))
        ctx.stopping.set()

    outcome, _ = await asyncio.gather(run_researcher(ctx), stop_soon())
    assert outcome.reason == "paused"
    assert entries(house) == [("released", 0)]


class StutteringDatabase(Database):
    """Refuses one write when it is told to."""

    refusing = False

    async def write(self, fn: Callable[[Session], T]) -> T:
        if self.refusing:
            self.refusing = False
            raise DatabaseError("locked for a while", "Try again")
        return await super().write(fn)


async def test_a_reply_whose_progress_cannot_be_noted_is_billed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "_PROGRESS_SECONDS", 0.0)
    house.server.play(Turn([say("dear words")]))
    house.db.close()
    house.db = db = StutteringDatabase(house.db.url)

    async def refuse() -> None:
        db.refusing = True

    house.server.before_reply = refuse
    ctx = await house.context()
    with pytest.raises(DatabaseError):
        await run_researcher(ctx)
    with db.reading() as session:
        spent = read_totals(session, CAMPAIGN).campaign
    assert spent.usd > 0
    assert spent.reserved_usd == 0
    assert ctx.ledger.committed().usd == spent.usd
