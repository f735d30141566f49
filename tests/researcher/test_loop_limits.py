"""Limits of dollars and tokens, and of one conversation's length."""

from __future__ import annotations

import asyncio

import pytest

from aar.budget.ledger import WorstCase
from aar.budget.totals import read_totals
from aar.errors import LimitBreach
from aar.researcher import turn
from aar.researcher.context import ResearcherContext
from aar.researcher.loop import run_researcher
from aar.store.models import LedgerEntry

from ..messages_server import Refusal, Turn, call, say
from ..waiting import until
from .conftest import CAMPAIGN, House
from .test_loop import FINISH, entries, kinds

pytestmark = pytest.mark.anyio


async def test_limit_reached_in_mid_campaign(house: House) -> None:
    house.server.script = lambda _: Turn([call(1, "budget")])
    outcome = await run_researcher(await house.context(limits={"researcher": {"turns": 3}}))
    assert outcome.reason == "limit"
    assert len(house.server.requests) == 3
    assert kinds(house)[-1] == "limit_hit"
    assert all(state == "settled" for state, _ in entries(house))


async def test_dollar_limit_is_not_overshot(house: House) -> None:
    house.server.script = lambda _: Turn([call(1, "budget")], usage={"input_tokens": 9000, "output_tokens": 1000})
    ledger = house.ledger(usd="0.5")
    outcome = await run_researcher(await house.context(ledger=ledger))
    assert outcome.reason == "limit"
    with house.db.reading() as session:
        assert 0 < read_totals(session, CAMPAIGN).campaign.usd <= ledger.limits.usd


async def test_reservation_covers_the_densest_tokenizer(house: House) -> None:
    """The service counts each byte of each string as a token, and still no settlement exceeds its reservation."""
    house.server.by_turn(
        *[
            Turn([say("wörds " * n), call(n, "post", kind="insight", title=f"T{n}", body="é" * 500)])
            for n in range(1, 6)
        ],
        FINISH,
    )
    await run_researcher(await house.context())
    with house.db.reading() as session:
        rows = session.query(LedgerEntry).all()
    assert len(rows) == 6
    assert all(row.input_tokens + row.output_tokens <= row.reserved_tokens for row in rows)
    assert all(row.usd <= row.reserved_usd for row in rows)
    assert rows[-1].reserved_tokens < 2 * rows[-1].input_tokens


async def test_too_long_conversation_is_handed_over_once(house: House) -> None:
    house.bench.files["/workspace/NOTEBOOK.md"] = b"kernel width 3 works"
    house.server.play(Turn([call(1, "budget")]), Refusal(400, "prompt is too long: 9 > 8"), FINISH)
    assert (await run_researcher(await house.context())).reason == "finished"
    messages = house.server.requests[2]["messages"]
    assert len(messages) == 1
    assert "kernel width 3 works" in messages[0]["content"][1]["text"]


async def test_grown_conversation_is_warned_and_handed_over(house: House) -> None:
    house.bench.files["/workspace/NOTEBOOK.md"] = b"kernel width 3 works"
    sizes = [1000, 8500, 12_000, 500, 600]
    turns = [
        Turn([call(n, "budget")], usage={"input_tokens": size, "output_tokens": 9}) for n, size in enumerate(sizes)
    ]
    house.server.play(*turns, FINISH)
    assert (await run_researcher(await house.context(context_tokens=10_000))).reason == "finished"
    warned, handed_over = house.server.requests[2]["messages"], house.server.requests[3]["messages"]
    assert "fresh conversation" in warned[-1]["content"][-1]["text"]
    assert "kernel width 3 works" in handed_over[0]["content"][1]["text"]
    assert handed_over[1:-1] == warned[1:][-len(handed_over[1:-1]) :] or handed_over[1]["role"] == "assistant"
    assert kinds(house).count("context_reset") == 1


async def test_cancelled_in_mid_call_is_charged_at_its_worst_case(house: House) -> None:
    house.server.play(Turn([say("x")], breaks_after=1, breaking="silence"))
    task = asyncio.create_task(run_researcher(await house.context(timeout=60)))
    await until(lambda: bool(house.server.requests))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert entries(house) == [("settled", 1000)]


async def test_what_others_reserved_and_do_not_use_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[LimitBreach] = []
    may_pass = turn._may_pass

    async def noted(ctx: ResearcherContext, breach: LimitBreach) -> bool:
        refused.append(breach)
        return await may_pass(ctx, breach)

    monkeypatch.setattr(turn, "_may_pass", noted)
    ledger = house.ledger(usd="0.40")
    ctx = await house.context(ledger=ledger)
    await ledger.reserve(WorstCase("model", "m", 40_000, 1000), "other", f"{CAMPAIGN}-r2")
    house.server.by_turn(FINISH)
    life = asyncio.create_task(run_researcher(ctx))
    await until(lambda: bool(refused))
    assert not house.server.requests
    await ledger.release("other")
    assert (await life).reason == "finished"
