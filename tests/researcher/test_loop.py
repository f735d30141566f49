"""The loop against a scripted service: what ends it, what it survives, and what it never does twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from sqlalchemy.orm import Session

from aar.budget.ledger import WorstCase
from aar.budget.totals import read_totals
from aar.errors import BackendAway, DatabaseError
from aar.forum.posts import list_posts
from aar.llm.concurrency_limiter import ServiceOutageMonitor
from aar.researcher import turn
from aar.researcher.conversation import EMPTY_NOTE, REFUSAL_NOTE
from aar.researcher.loop import run_researcher
from aar.researcher.prompts import NUDGE
from aar.researcher.tools.executor import CUT_OFF, UNKNOWN_EFFECT, UNREADABLE
from aar.store.database import Database
from aar.store.event_log import read_events
from aar.store.models import LedgerEntry, Researcher

from .conftest import CAMPAIGN, KEY, House, until
from .messages_server import Raw, Refusal, Turn, call, say

pytestmark = pytest.mark.anyio
T = TypeVar("T")
FINISH = Turn([call(99, "finish", summary="all done")])


def kinds(house: House) -> list[str]:
    with house.db.reading() as session:
        return [logged.event.kind for logged in read_events(session, CAMPAIGN, limit=10_000)]


def entries(house: House) -> list[tuple[str, int]]:
    with house.db.reading() as session:
        return [(entry.state, entry.output_tokens) for entry in session.query(LedgerEntry).order_by(LedgerEntry.id)]


async def test_works_until_it_finishes(house: House) -> None:
    house.server.by_turn(
        Turn([say("I post."), call(1, "post", kind="insight", title="T", body="B"), call(2, "budget")]), FINISH
    )
    outcome = await run_researcher(await house.context())
    assert (outcome.reason, outcome.detail) == ("finished", "all done")
    with house.db.reading() as session:
        assert [post.title for post in list_posts(session, CAMPAIGN)] == ["T"]
        spent = read_totals(session, CAMPAIGN).campaign
    assert spent.calls == 2
    assert spent.reserved_usd == 0
    results = house.server.requests[1]["messages"][2]["content"]
    assert [block["tool_use_id"] for block in results] == ["toolu_1", "toolu_2"]
    assert results[0]["content"][0]["text"].startswith("Post #")


async def test_system_prompt_has_the_lines_that_programs_read(house: House) -> None:
    house.server.by_turn(FINISH)
    await run_researcher(await house.context())
    lines = [line for part in house.server.requests[0]["system"] for line in part["text"].splitlines()]
    assert "Researcher: r1" in lines
    assert "Problem: puzzle" in lines
    assert "Direction: noise: Think of weak labels as a noisy channel." in lines


async def test_a_finished_researcher_stays_finished(house: House) -> None:
    house.server.by_turn(FINISH)
    await run_researcher(await house.context())
    outcome = await run_researcher(await house.context())
    assert outcome.reason == "finished"
    assert len(house.server.requests) == 1


async def test_prefix_of_every_request_is_the_former_request(house: House) -> None:
    house.server.by_turn(Turn([call(1, "budget")]), Turn([call(2, "budget"), call(3, "leaderboard")]), FINISH)
    await run_researcher(await house.context())
    requests = [without_marks(request) for request in house.server.requests]
    for earlier, later in pairwise(requests):
        assert earlier["system"] == later["system"]
        assert earlier["tools"] == later["tools"]
        assert later["messages"][: len(earlier["messages"])] == earlier["messages"]
    for request in house.server.requests:
        assert request["messages"][-1]["content"][-1]["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
        assert [part["cache_control"] for part in request["system"]] == [{"type": "ephemeral", "ttl": "5m"}] * 2


def without_marks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_marks(inner) for key, inner in value.items() if key != "cache_control"}
    return [without_marks(inner) for inner in value] if isinstance(value, list) else value


async def test_thinking_goes_back_as_it_came(house: House) -> None:
    thinking = {"type": "thinking", "thinking": "hm, ünï", "signature": "c2lnbmF0dXJl"}
    house.server.by_turn(Turn([thinking, call(1, "budget")]), FINISH)
    await run_researcher(await house.context())
    assert house.server.requests[1]["messages"][1]["content"][0] == thinking


async def test_turn_without_tools_is_nudged_and_at_last_given_up(house: House) -> None:
    house.server.script = lambda _: Turn([say("hello")])
    outcome = await run_researcher(await house.context(patience=3))
    assert outcome.reason == "failed"
    assert "made no progress" in outcome.detail
    assert house.server.requests[1]["messages"][-1]["content"][0]["text"] == NUDGE
    assert len(house.server.requests) == 4


async def test_errors_in_a_row_are_given_up(house: House) -> None:
    house.server.script = lambda _: Turn([call(1, "vote", post=77, value=1)])
    outcome = await run_researcher(await house.context(patience=3))
    assert outcome.reason == "failed"
    assert len(house.server.requests) == 4


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (call(1, "no_such_tool"), "Unknown tool 'no_such_tool'"),
        (call(1, "vote", post=1, value=7), "value: Input should be 1 or -1"),
        (call(1, "vote", post=1, value=1, why="x"), "why: Extra inputs are not permitted"),
        (call(1, "comment", post=5, body="x"), "5"),
    ],
)
async def test_wrong_call_is_an_error_the_model_reads(house: House, block: dict[str, Any], told: str) -> None:
    house.server.by_turn(Turn([block]), FINISH)
    assert (await run_researcher(await house.context())).reason == "finished"
    result = house.server.requests[1]["messages"][2]["content"][0]
    assert result["is_error"] is True
    assert told in result["content"][0]["text"]


async def test_call_cut_off_by_the_length_limit_does_not_run(house: House) -> None:
    post = call(2, "post", kind="insight", title="T", body="B")
    house.server.by_turn(
        Turn([call(1, "budget"), post], stop_reason="max_tokens", raw_input='{"kind": "insight", "ti'), FINISH
    )
    await run_researcher(await house.context())
    results = house.server.requests[1]["messages"][2]["content"]
    assert results[1]["content"][0]["text"] == CUT_OFF
    assert "is_error" not in results[0]
    with house.db.reading() as session:
        assert list_posts(session, CAMPAIGN) == []


async def test_input_that_is_no_json_is_refused(house: House) -> None:
    house.server.by_turn(Turn([call(1, "budget")], raw_input="{oops"), FINISH)
    await run_researcher(await house.context())
    result = house.server.requests[1]["messages"][2]["content"][0]
    assert (result["is_error"], result["content"][0]["text"]) == (True, UNREADABLE.format(tool="budget"))


@pytest.mark.parametrize(
    ("turn", "note"),
    [
        (Turn([say("half a bad")], stop_reason="refusal"), REFUSAL_NOTE),
        (Turn([], stop_reason="refusal"), REFUSAL_NOTE),
        (Turn([], stop_reason="end_turn"), EMPTY_NOTE),
        (Turn([{"type": "thinking", "thinking": "x", "signature": "y"}], stop_reason="max_tokens"), EMPTY_NOTE),
    ],
)
async def test_a_void_turn_leaves_no_trace_but_a_note(house: House, turn: Turn, note: str) -> None:
    house.server.play(turn, FINISH)
    assert (await run_researcher(await house.context())).reason == "finished"
    messages = house.server.requests[1]["messages"]
    assert [message["role"] for message in messages] == ["user"]
    assert messages[0]["content"][-1]["text"] == note


async def test_paused_turn_is_sent_back_to_be_continued(house: House) -> None:
    house.server.play(Turn([say("one")], stop_reason="pause_turn"), FINISH)
    assert (await run_researcher(await house.context())).reason == "finished"
    assert house.server.requests[1]["messages"][-1] == {"role": "assistant", "content": [say("one")]}


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
        ctx.gateway.watch.record_reply()

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
    ctx.gateway.watch = ServiceOutageMonitor("the service", lambda event: told.append(event.kind))
    assert (await run_researcher(ctx)).reason == "finished"
    assert told == ["model_service_unavailable", "model_service_recovered"]
    assert len(entries(house)) == 3  # each cut call may be billed, and is in the ledger


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


async def test_news_and_peoples_words_come_at_the_start_of_a_turn(house: House) -> None:
    from aar.forum.authors import Author
    from aar.forum.posts import create_post

    async def a_person_posts() -> None:
        if len(house.server.requests) == 1:
            await house.db.write(
                lambda session: create_post(
                    session, CAMPAIGN, Author("human:ana", None), kind="question", title="Why?", body="Look at seeds."
                )
            )

    house.server.before_reply = a_person_posts
    house.server.by_turn(Turn([call(1, "budget")]), Turn([call(2, "budget")]), FINISH)
    await run_researcher(await house.context())
    content = house.server.requests[1]["messages"][-1]["content"]
    assert content[0]["type"] == "tool_result"
    assert "Look at seeds." in content[1]["text"]
    assert len(house.server.requests[2]["messages"][-1]["content"]) == 1


async def test_pause_before_a_call_and_during_a_wait(house: House) -> None:
    ctx = await house.context()
    house.server.by_turn(Turn([call(1, "wait", **{"for": "time", "timeout_seconds": 3000})]), FINISH)

    async def stop_soon() -> None:
        await until(lambda: "tool_started" in kinds(house))
        ctx.stopping.set()

    outcome, _ = await asyncio.gather(run_researcher(ctx), stop_soon())
    assert outcome.reason == "paused"
    assert "tool_finished" not in kinds(house)
    again = await house.context()
    again.stopping.set()
    assert (await run_researcher(again)).reason == "paused"
    assert len(house.server.requests) == 1


async def test_pause_while_the_service_is_away_owes_nothing(house: House) -> None:
    ctx = await house.context(deadline=1000.0)
    house.server.script = lambda _: Refusal(529, headers={"retry-after": "600"})

    async def stop_soon() -> None:
        await until(lambda: bool(house.server.requests))
        ctx.stopping.set()

    outcome, _ = await asyncio.gather(run_researcher(ctx), stop_soon())
    assert outcome.reason == "paused"
    assert entries(house) == [("released", 0)]


async def test_cancelled_in_mid_call_is_charged_at_its_worst_case(house: House) -> None:
    house.server.play(Turn([say("x")], breaks_after=1, breaking="silence"))
    task = asyncio.create_task(run_researcher(await house.context(timeout=60)))
    await until(lambda: bool(house.server.requests))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert entries(house) == [("settled", 1000)]


async def test_interrupted_command_is_not_run_again(house: House) -> None:
    house.server.by_turn(Turn([call(1, "bash", command="make")]), FINISH)

    async def hang() -> None:
        await asyncio.sleep(60)

    house.bench.on_exec = hang
    task = asyncio.create_task(run_researcher(await house.context()))
    await until(lambda: bool(house.bench.executed))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await run_researcher(await house.context())).reason == "finished"
    assert len(house.bench.executed) == 1
    assert house.server.requests[1]["messages"][2]["content"][0]["content"][0]["text"] == UNKNOWN_EFFECT


async def test_long_output_is_left_whole_in_a_file(house: House) -> None:
    house.bench.output = "".join(f"line {n}\n" for n in range(5000))
    house.server.by_turn(Turn([call(1, "bash", command="seq")]), FINISH)
    await run_researcher(await house.context())
    text = house.server.requests[1]["messages"][2]["content"][0]["content"][0]["text"]
    assert len(text) < 16_500
    (name,) = house.bench.files
    assert name in text
    assert house.bench.files[name].decode() == house.bench.output


async def test_the_key_is_written_nowhere(house: House) -> None:
    house.server.play(Turn([call(1, "budget")]), Refusal(401, f"invalid x-api-key {KEY}"))
    await run_researcher(await house.context())
    assert house.server.headers[0]["authorization"] == f"Bearer {KEY}"
    house.db.close()
    for file in house.folder.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


async def test_what_others_reserved_and_do_not_use_is_waited_for(house: House) -> None:
    ledger = house.ledger(usd="0.40")
    ctx = await house.context(ledger=ledger)
    await ledger.reserve(WorstCase("model", "m", 40_000, 1000), "other", f"{CAMPAIGN}-r2")
    house.server.by_turn(FINISH)
    life = asyncio.create_task(run_researcher(ctx))
    await asyncio.sleep(0.2)
    assert not house.server.requests
    await ledger.release("other")
    assert (await life).reason == "finished"


async def test_what_it_is_doing_is_shown(house: House) -> None:
    def doing() -> tuple[str, str]:
        with house.db.reading() as session:
            researcher = session.get_one(Researcher, f"{CAMPAIGN}-r1")
            return researcher.state, researcher.doing

    ctx = await house.context()
    house.server.by_turn(Turn([call(1, "wait", **{"for": "time", "timeout_seconds": 3000})]), FINISH)
    life = asyncio.create_task(run_researcher(ctx))
    await until(lambda: doing() == ("waiting", "wait: for time, at most 3000 s"))
    ctx.stopping.set()
    assert (await life).reason == "paused"


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
