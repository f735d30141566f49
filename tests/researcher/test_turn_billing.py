"""What the ledger says of calls whose service tells too little, too much, or something else."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from aar.budget.ledger import Ledger, WorstCase
from aar.budget.limits import Limits
from aar.errors import DatabaseError, SetupError
from aar.llm.price_book import ModelPrice, PriceBook
from aar.researcher.context import FallbackModel
from aar.researcher.loop import run_researcher
from aar.scoring.audits.reviewer import Reviewer
from aar.store.database import Database
from aar.store.event_log import read_events
from aar.store.models import LedgerEntry, Researcher

from ..messages_server import Refusal, Turn, call, say
from ..scoring.audits.test_reviewer import dossier
from ..waiting import until
from .conftest import CAMPAIGN, House

pytestmark = pytest.mark.anyio

DONE = Turn([call(2, "finish", summary="done")])
TOLD = {"input_tokens": 100, "output_tokens": 20}


def rows(house: House) -> list[LedgerEntry]:
    with house.db.reading() as session:
        return list(session.scalars(select(LedgerEntry).order_by(LedgerEntry.id)))


def happened(house: House, kind: str) -> list[Any]:
    with house.db.reading() as session:
        return [logged.event for logged in read_events(session, CAMPAIGN, limit=1000, kinds=(kind,))]


@pytest.mark.parametrize(
    "told",
    [
        (None, None),
        (TOLD, None),
        ({**TOLD, "input_tokens": 0}, {"output_tokens": 0}),
        ({"input_tokens": 12.5, "output_tokens": 1}, {"output_tokens": 1}),
        ({"input_tokens": "12", "output_tokens": 1}, {"output_tokens": 1}),
        ({**TOLD, "input_tokens": 10**40}, {"output_tokens": 1}),
        (TOLD, {"input_tokens": -1, "output_tokens": 3}),
        (TOLD, {"input_tokens": 9, "output_tokens": 30}),
    ],
)
async def test_usage_that_cannot_be_right_is_charged_at_the_worst_case_and_told_once(house: House, told: Any) -> None:
    wrong = Turn([call(1, "budget")], told=told)
    house.server.by_turn(wrong, wrong, DONE)
    assert (await run_researcher(await house.context())).reason == "finished"
    first, second, last = rows(house)
    for row in (first, second):
        assert (row.state, row.usd >= row.reserved_usd) == ("settled", True)
        assert row.output_tokens >= 1000
    assert last.usd < last.reserved_usd
    causes = [event.cause for event in happened(house, "usage_doubted")]
    assert causes
    assert len(causes) == len(set(causes))
    assert [event.usd for event in happened(house, "turn_received")] == [row.usd for row in (first, second, last)]


async def test_a_prompt_after_doubtful_figures_is_bound_by_its_bytes(house: House) -> None:
    house.server.by_turn(
        Turn([call(1, "budget")], told=({**TOLD, "input_tokens": 0}, TOLD | {"input_tokens": 0})), DONE
    )
    await run_researcher(await house.context())
    first, second = rows(house)
    assert second.reserved_tokens > first.reserved_tokens


@pytest.mark.parametrize("named", ["dear", "cheap", "unheard-of"])
async def test_a_reply_by_another_model_is_charged_at_the_dearer_price(house: House, named: str) -> None:
    prices = {
        name: ModelPrice(*(Decimal(figure) for figure in figures))
        for name, figures in (("m", (4, 20, 5, 8, 1)), ("dear", (8, 40, 10, 16, 2)), ("cheap", (1, 2, 1, 2, 0)))
    }
    ledger = Ledger(house.db, CAMPAIGN, Limits(usd=None), PriceBook(prices))
    house.server.by_turn(Turn([call(1, "budget")], named=named), Turn([call(3, "budget")]), DONE)
    assert (await run_researcher(await house.context(ledger=ledger))).reason == "finished"
    one, other, _ = rows(house)
    plain = ledger._prices.cost("m", reading(one))
    least = {"dear": plain * 2, "cheap": plain, "unheard-of": one.reserved_usd}[named]
    assert one.usd == least
    # Once it happened it may happen again: the next worst case counts with it.
    each = [row.reserved_usd / row.reserved_tokens for row in (one, other)]
    assert (each[1] > each[0] * Decimal("1.5")) is (named == "dear")
    assert bool(happened(house, "usage_doubted")) is (named == "unheard-of")


def reading(row: LedgerEntry) -> Any:
    from aar.llm.usage import Usage

    names = ("input_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "cache_read_tokens", "output_tokens")
    return Usage(**{name: getattr(row, name) for name in names})


async def test_a_reply_that_breaks_while_it_is_recorded_is_paid_and_leaves_nothing_open(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aar.researcher.loop._MAX_BACKOFF_SECONDS", 0.01)
    broken_once = iter([True])

    def first_started(turn: Any) -> Any:
        if next(broken_once, False):
            raise RuntimeError("a block that nobody foresaw")
        return None

    monkeypatch.setattr("aar.researcher.turn.first_tool_started", first_started)
    house.server.play(Turn([call(1, "budget")]), DONE)
    assert (await run_researcher(await house.context())).reason == "finished"
    broken, last = rows(house)
    assert (broken.state, broken.output_tokens, last.state) == ("settled", 50, "settled")
    [failed] = happened(house, "model_call_failed")
    assert failed.error.startswith("the reply could not be recorded")


async def test_a_tool_call_without_what_every_one_has_is_answered_all_the_same(house: House) -> None:
    house.server.by_turn(Turn([{"type": "tool_use", "name": None, "id": None, "input": {}}]), DONE)
    assert (await run_researcher(await house.context())).reason == "finished"
    assert {row.state for row in rows(house)} == {"settled"}


async def test_calls_that_share_an_id_are_told_apart(house: House) -> None:
    """Servers other than Anthropic's number calls within each reply."""
    again = {"type": "tool_use", "id": "call_0", "name": "bash", "input": {"command": "date"}}
    house.server.by_turn(Turn([again, again]), Turn([again]), DONE)
    assert (await run_researcher(await house.context())).reason == "finished"
    assert house.bench.executed
    blocks = [block for message in house.server.requests[-1]["messages"] for block in message["content"]]
    ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
    assert (len(set(ids)), ids[0]) == (3, "call_0")
    assert [set(turn.service_ids.values()) for turn in happened(house, "turn_received")[:2]] == [{"call_0"}] * 2


async def test_a_conversation_that_the_service_will_not_take_back_is_set_aside_once(house: House) -> None:
    refused = Refusal(400, "messages.1.content.0: no such block")
    house.server.play(Turn([call(1, "budget")]), refused, DONE)
    assert (await run_researcher(await house.context())).reason == "finished"
    assert [event.reason for event in happened(house, "context_reset")] == ["refused by the service"]
    house.server.script = lambda _: refused
    other = await run_researcher(await house.context(2))
    assert (other.reason, "no such block" in other.detail) == ("failed", True)


async def test_words_that_no_database_keeps_are_no_end(house: House) -> None:
    raw = '{"command": "echo \\ud83d \\u0000"}'
    house.server.by_turn(Turn([call(1, "bash")], raw_input=raw), DONE)
    assert (await run_researcher(await house.context())).reason == "finished"
    assert {row.state for row in rows(house)} == {"settled"}
    with house.db.reading() as session:
        assert session.get_one(Researcher, f"{CAMPAIGN}-r1").doing


@pytest.mark.parametrize("given", ['{"n": 0.0003}', '{"n": 0.0', '{"for": "time"}'])
async def test_a_call_that_the_length_limit_cut_off_never_runs(house: House, given: str) -> None:
    cut = Turn([call(1, "bash", command="x")], stop_reason="max_tokens", raw_input=given)
    house.server.by_turn(cut, DONE)
    assert (await run_researcher(await house.context())).reason == "finished"
    assert house.bench.executed == []
    [result] = house.server.requests[1]["messages"][2]["content"][:1]
    assert (result["is_error"], "cut off by the length limit" in result["content"][0]["text"]) == (True, True)


async def test_a_verdict_that_the_length_limit_cut_off_does_not_count(house: House) -> None:
    cut = call(1, "verdict", verdict="passed", rule="", reason="x", quotes=[])
    house.server.play(Turn([cut], stop_reason="max_tokens"))
    found = await Reviewer(house.db, house.ledger(), "m", lambda _: house.gateway(1, 5)).judge(dossier(house.folder))
    assert found.rule == "reviewer.no-verdict"


async def test_the_reviewers_wrong_figures_are_told_on_the_campaigns_account(house: House) -> None:
    house.server.play(Turn([say("x")], told=(None, None)))
    await Reviewer(house.db, house.ledger(), "m", lambda _: house.gateway(1, 5)).judge(dossier(house.folder))
    [row] = rows(house)
    assert row.usd >= row.reserved_usd
    assert happened(house, "usage_doubted")


async def test_a_reviewer_that_cannot_be_set_up_costs_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: Any) -> Any:
        raise SetupError("provider bedrock needs a library that is not installed")

    reviewer = Reviewer(house.db, house.ledger(), "m", lambda _: house.gateway(1, 5))
    with monkeypatch.context() as patched:
        patched.setattr("aar.llm.gateway.open_client", closed)
        about = dossier(house.folder)
        assert "not installed" in (await reviewer.judge(about)).reason
        patched.setattr("aar.llm.gateway.open_client", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await reviewer.judge(about)
    assert [(row.state, row.usd) for row in rows(house)] == [("released", 0)] * 2
    assert house.server.requests == []


@asynccontextmanager
async def held(house: House, seconds: float) -> AsyncIterator[sqlite3.Connection]:
    """Another program holds the database for a while, from the moment when a reply is about to be sent."""
    house.db.close()
    house.db = Database(house.db.url, busy_seconds=0.1)
    holder = sqlite3.connect(house.db.url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)

    async def hold() -> None:
        house.server.before_reply = None
        holder.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_later(seconds, holder.rollback)

    house.server.before_reply = hold
    yield holder
    holder.close()


async def test_a_reply_that_was_paid_for_outlasts_a_database_that_is_away(house: House) -> None:
    house.server.by_turn(Turn([call(1, "budget")]), DONE)
    async with held(house, 1.5):
        assert (await run_researcher(await house.context())).reason == "finished"
    assert len(house.server.requests) == 2
    assert [row.state for row in rows(house)] == ["settled", "settled"]
    assert not happened(house, "model_call_failed")


async def test_a_call_whose_end_could_not_be_written_holds_no_budget_for_the_next_loop(house: House) -> None:
    house.server.by_turn(DONE, DONE)
    async with held(house, 2.5) as holder:
        ctx = await house.context()
        asyncio.get_running_loop().call_later(0.7, ctx.stopping.set)  # nobody waits longer then
        with pytest.raises(DatabaseError):
            await run_researcher(ctx)
        await until(lambda: not holder.in_transaction)
    ctx.stopping.clear()
    assert (await run_researcher(ctx)).reason == "finished"
    assert [row.state for row in rows(house)] == ["lost", "settled"]


async def test_what_is_left_open_at_the_end_is_charged_as_after_a_crash(house: House) -> None:
    ledger = house.ledger()
    await ledger.load()
    for name in ("a", "b"):
        await ledger.reserve(WorstCase("model", "m", 100, 10), name, None)
    await ledger.release("b")
    other = house.ledger()
    await other.reserve(WorstCase("model", "m", 100, 10), "c", None)
    before = ledger.committed()
    assert (await ledger.write_off(), await ledger.write_off()) == (1, 0)
    assert ledger.committed() == before
    assert [(row.request_id, row.state) for row in rows(house)] == [("a", "lost"), ("b", "released"), ("c", "reserved")]


@pytest.mark.parametrize(
    ("void", "told"),
    [
        (Turn([], stop_reason="refusal"), "9 replies in a row were refused"),
        (Turn([], stop_reason="end_turn"), "9 replies in a row were empty"),
        (Turn([], stop_reason="pause_turn"), "9 replies in a row were empty"),
    ],
)
async def test_refused_and_empty_replies_come_to_an_end(
    house: House, monkeypatch: pytest.MonkeyPatch, void: Turn, told: str
) -> None:
    """They are waited for, then another model is asked, then another conversation begun, and then it is over."""
    monkeypatch.setattr("aar.researcher.loop._MAX_BACKOFF_SECONDS", 0.01)
    house.server.script = lambda _: void
    fallback = FallbackModel("m2", house.gateway(5, 5))
    prices = {name: ModelPrice(*map(Decimal, (4, 20, 5, 8, 1))) for name in ("m", "m2")}
    ledger = Ledger(house.db, CAMPAIGN, Limits(usd=None), PriceBook(prices))
    outcome = await run_researcher(await house.context(ledger=ledger, fallback=fallback))
    assert (outcome.reason, outcome.detail) == ("failed", told)
    assert [request["model"] for request in house.server.requests] == ["m", "m", "m", "m2", *["m"] * 5]
    assert len(happened(house, "context_reset")) == 1
    house.server.script = lambda _: DONE
    assert (await run_researcher(await house.context())).reason == "finished"  # a resume tries again


@pytest.mark.parametrize(("refused_later", "outcome"), [(0, "finished"), (99, "failed")])
async def test_a_fallback_that_answers_hides_no_model_that_refuses(
    house: House, monkeypatch: pytest.MonkeyPatch, refused_later: int, outcome: str
) -> None:
    monkeypatch.setattr("aar.researcher.loop._MAX_BACKOFF_SECONDS", 0.01)
    own = [Turn([], stop_reason="refusal")] * (4 + refused_later)
    answers = {"m": own, "m2": [Turn([call(7, "budget")])]}
    house.server.script = lambda request: answers[request["model"]].pop(0) if answers[request["model"]] else DONE
    prices = {name: ModelPrice(*map(Decimal, (4, 20, 5, 8, 1))) for name in ("m", "m2")}
    ledger = Ledger(house.db, CAMPAIGN, Limits(usd=None), PriceBook(prices))
    ended = await run_researcher(await house.context(ledger=ledger, fallback=FallbackModel("m2", house.gateway(5, 5))))
    assert ended.reason == outcome
    asked = [request["model"] for request in house.server.requests]
    # The fallback is asked once; the next refusal begins a fresh conversation, and then there is an end.
    assert asked == ["m", "m", "m", "m2", *["m"] * (2 if outcome == "finished" else 6)]
    assert len(happened(house, "context_reset")) == 1
