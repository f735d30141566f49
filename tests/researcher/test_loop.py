"""The loop against a scripted service: what ends it, what it survives, and what it never does twice."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from aar.budget.totals import read_totals
from aar.forum.search import list_posts
from aar.researcher.conversation import EMPTY_NOTE, REFUSAL_NOTE
from aar.researcher.loop import run_researcher
from aar.researcher.prompts import NUDGE
from aar.researcher.tools.executor import CUT_OFF, UNKNOWN_EFFECT, UNREADABLE
from aar.store.event_log import read_events
from aar.store.models import LedgerEntry, Researcher

from ..messages_server import Refusal, Turn, call, say
from ..waiting import until
from .conftest import CAMPAIGN, KEY, House

pytestmark = pytest.mark.anyio
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
