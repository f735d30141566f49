"""Whole answers and streams, tools, thinking, as the SDK's client sees them."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import BadRequestError, beta_async_tool
from pydantic import BaseModel

from aar.testing.fake_messages_api import (
    MessagesRequest,
    ModelReply,
    paused_reply,
    redacted_thinking_block,
    refusal_reply,
    text_block,
    thinking_block,
    tool_use_block,
)

from .conftest import Talking

pytestmark = pytest.mark.anyio

MODEL = "claude-sonnet-4-6"
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
BASH: list[Any] = [{"name": "bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}]


def result(block: Any, content: Any = "done") -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block.id, "content": content}]}


async def test_a_stream_adds_up_to_the_whole_message(talking: Talking) -> None:
    reply = ModelReply(
        [thinking_block("ä" * 100), "Two\n" * 50, tool_use_block("bash", command="x" * 900, deep={"a": [1, None]})]
    )
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 4096, "messages": HELLO, "tools": BASH}
    asked["thinking"] = {"type": "adaptive"}
    async with talking([reply, reply]) as (client, _):
        whole = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            kinds = [event.type async for event in stream]
            streamed = await stream.get_final_message()
    ids = {"id", "signature"}
    assert [b.model_dump(exclude=ids) for b in streamed.content] == [b.model_dump(exclude=ids) for b in whole.content]
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use"]
    assert whole.stop_reason == streamed.stop_reason == "tool_use"
    assert streamed.usage == whole.usage
    assert whole.usage.output_tokens_details is not None
    assert 0 < whole.usage.output_tokens_details.thinking_tokens < whole.usage.output_tokens
    assert kinds.count("content_block_start") == 3


async def test_events_have_the_services_order(talking: Talking) -> None:
    reply = ModelReply([thinking_block("hm"), text_block("yes"), tool_use_block("bash", command="ls")])
    async with talking([reply]) as (client, _):
        stream = await client.messages.create(
            model=MODEL, max_tokens=2000, messages=HELLO, tools=BASH, thinking={"type": "adaptive"}, stream=True
        )
        events = [event async for event in stream]
    assert next(event.type for event in events) == "message_start"
    assert [event.type for event in events][-2:] == ["message_delta", "message_stop"]
    deltas = [event.delta.type for event in events if event.type == "content_block_delta"]
    assert deltas == ["thinking_delta", "signature_delta", "text_delta", "input_json_delta", "input_json_delta"]
    opening = events[0]
    assert opening.type == "message_start"
    assert opening.message.content == []
    assert opening.message.stop_reason is None


async def test_the_tool_runner_goes_round(talking: Talking) -> None:
    asked: list[str] = []

    @beta_async_tool
    async def look(place: str) -> str:
        """Look at a place.

        Args:
            place: where.
        """
        asked.append(place)
        return f"nothing at {place}"

    def play(request: MessagesRequest) -> ModelReply | str:
        return (
            ModelReply([tool_use_block("look", place="home")])
            if request.turns == 0
            else f"Seen: {request.results()[0]['content']}"
        )

    async with talking(play) as (client, double):
        runner = client.beta.messages.tool_runner(model=MODEL, max_tokens=500, tools=[look], messages=HELLO)
        last = await runner.until_done()
    assert asked == ["home"]
    assert "nothing at home" in last.content[0].text  # type: ignore[union-attr]
    # The runner first asks for a thread that the server keeps, and goes on without one.
    assert [exchange.status for exchange in double.requests] == [400, 200, 200]


async def test_a_structured_answer_is_parsed(talking: Talking) -> None:
    class Score(BaseModel):
        value: int

    async with talking(['{"value": 7}']) as (client, double):
        parsed = await client.messages.parse(model=MODEL, max_tokens=50, messages=HELLO, output_format=Score)
    assert parsed.parsed_output == Score(value=7)
    assert double.requests[0].body["output_config"]["format"]["type"] == "json_schema"


async def test_thinking_comes_back_intact_or_not_at_all(talking: Talking) -> None:
    first = ModelReply(
        [thinking_block("secret plan"), redacted_thinking_block("xyz"), tool_use_block("bash", command="ls")]
    )
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 4000, "tools": BASH}
    async with talking(lambda request: first if request.turns == 0 else "ok") as (client, _):
        for config in ({"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}):
            turn = await client.messages.create(messages=HELLO, thinking=config, **asked)
            content = [block.model_dump(exclude_none=True) for block in turn.content]
            use = turn.content[-1]

            async def send(content: list[Any], config: Any = config, use: Any = use) -> Any:
                messages = [*HELLO, {"role": "assistant", "content": content}, result(use)]
                return await client.messages.create(messages=messages, thinking=config, **asked)

            assert (await send(content)).stop_reason == "end_turn"
            with pytest.raises(BadRequestError, match="Invalid `signature` in `thinking` block"):
                await send([{**content[0], "thinking": "another plan"}, *content[1:]])
            with pytest.raises(BadRequestError, match="Invalid `data`"):
                await send([content[0], {**content[1], "data": "eHl6.AAAA"}, content[2]])
            with pytest.raises(BadRequestError, match="cannot be modified"):
                await send([content[1], content[0], content[2]])
            with pytest.raises(BadRequestError, match=r"cannot be modified|must start with a thinking block"):
                await send(content[2:])


async def test_thinking_that_is_off_or_omitted(talking: Talking) -> None:
    reply = ModelReply([thinking_block("a plan"), "Yes."])
    async with talking([reply, reply, "Go on."]) as (client, _):
        off = await client.messages.create(model=MODEL, max_tokens=50, messages=HELLO)
        assert [block.type for block in off.content] == ["text"]
        hidden: Any = {"type": "adaptive", "display": "omitted"}
        message = await client.messages.create(model=MODEL, max_tokens=50, messages=HELLO, thinking=hidden)
        thought = message.content[0]
        assert thought.type == "thinking"
        assert thought.thinking == ""
        messages = [*HELLO, message.to_param(), *HELLO]
        await client.messages.create(model=MODEL, max_tokens=50, messages=messages, thinking=hidden)


async def test_why_an_answer_ends(talking: Talking) -> None:
    replies = [
        refusal_reply("I", category="bio"),
        paused_reply("still at it"),
        "after",
        ModelReply([]),
        "one STOP two",
        "abc" * 100,
    ]
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 20, "stop_sequences": ["STOP"]}
    async with talking(replies) as (client, _):
        refused = await client.messages.create(messages=HELLO, **asked)
        assert refused.stop_reason == "refusal"
        assert refused.stop_details is not None
        assert refused.stop_details.category == "bio"
        paused = await client.messages.create(messages=HELLO, **asked)
        assert paused.stop_reason == "pause_turn"
        # A paused turn goes back as it is, even to a model without prefill; other prefills are refused.
        resumed = await client.messages.create(messages=[*HELLO, paused.to_param()], **asked)
        assert resumed.content[0].text == "after"  # type: ignore[union-attr]
        with pytest.raises(BadRequestError, match="prefill"):
            await client.messages.create(messages=[*HELLO, {"role": "assistant", "content": "So"}], **asked)
        empty = await client.messages.create(messages=HELLO, **asked)
        assert (empty.content, empty.stop_reason, empty.usage.output_tokens) == ([], "end_turn", 1)
        stopped = await client.messages.create(messages=HELLO, **asked)
        assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "STOP")
        assert stopped.content[0].text == "one "  # type: ignore[union-attr]
        cut = await client.messages.create(messages=HELLO, **asked)
        assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 20)
        assert cut.content[0].text == ("abc" * 100)[:80]  # type: ignore[union-attr]


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_tool_call_is_cut_in_the_middle_of_its_input(talking: Talking, streamed: bool) -> None:
    reply = ModelReply([tool_use_block("bash", command="x" * 400, then="y")])
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 41, "messages": HELLO, "tools": BASH}
    async with talking([reply]) as (client, _):
        if streamed:
            stream = await client.messages.create(stream=True, **asked)
            events = [event async for event in stream]
            texts = [e.delta.partial_json for e in events if e.type == "content_block_delta"]  # type: ignore[union-attr]
            assert "".join(texts) == '{"command":"' + "x" * 148
            ending = events[-2]
            assert ending.type == "message_delta"
            assert (ending.delta.stop_reason, ending.usage.output_tokens) == ("max_tokens", 41)
        else:
            message = await client.messages.create(**asked)
            assert message.stop_reason == "max_tokens"
            assert "then" not in message.content[0].input  # type: ignore[union-attr]


async def test_one_tool_call_at_a_time_if_asked(talking: Talking) -> None:
    reply = ModelReply([tool_use_block("bash", command="1"), tool_use_block("bash", command="2")])
    choice: Any = {"type": "auto", "disable_parallel_tool_use": True}
    async with talking([reply]) as (client, _):
        message = await client.messages.create(
            model=MODEL, max_tokens=99, messages=HELLO, tools=BASH, tool_choice=choice
        )
    assert [block.input for block in message.content] == [{"command": "1"}]  # type: ignore[union-attr]


async def test_a_broken_input_is_sent_as_it_is(talking: Talking) -> None:
    async with talking([ModelReply([tool_use_block("bash")], raw_input='{"command": nope')]) as (client, _):
        stream = await client.messages.create(model=MODEL, max_tokens=99, messages=HELLO, tools=BASH, stream=True)
        texts = [e.delta.partial_json async for e in stream if e.type == "content_block_delta"]  # type: ignore[union-attr]
    assert "".join(texts) == '{"command": nope'


async def test_what_server_tools_leave_behind(talking: Talking) -> None:
    """Blocks that the double does not play go through as the script has them, citations included."""
    citation = {"type": "char_location", "cited_text": "c", "document_index": 0, "document_title": None}
    citation |= {"start_char_index": 0, "end_char_index": 1, "file_id": None}
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    reply = ModelReply([use, found, {"type": "text", "text": "so", "citations": [citation]}])
    counted = ModelReply(reply.content, server_tool_use={"web_search_requests": 1})
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 500, "messages": HELLO}
    async with talking([counted, reply]) as (client, _):
        async with client.messages.stream(**asked) as stream:
            streamed = await stream.get_final_message()
        whole = await client.messages.create(**asked)
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in whole.content]
    assert streamed.content[2].citations[0].cited_text == "c"  # type: ignore[union-attr, index]
    assert streamed.usage.server_tool_use is not None
    assert streamed.usage.server_tool_use.web_search_requests == 1


async def test_a_turn_that_was_paused_twice_goes_back_whole(talking: Talking) -> None:
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 20}
    async with talking([paused_reply("one "), paused_reply("two "), "three"]) as (client, _):
        turns: list[Any] = []
        for _ in range(2):
            turns.append((await client.messages.create(messages=[*HELLO, *turns], **asked)).to_param())
        last = await client.messages.create(messages=[*HELLO, *turns], **asked)
        assert last.content[0].text == "three"  # type: ignore[union-attr]
