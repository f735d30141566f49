"""The server's process: what it says on the wire, through the real SDK."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from anthropic import AsyncAnthropic, BadRequestError, NotFoundError

from aar.researcher.offline import OFFLINE_MODEL_ID, SELF_DESCRIPTION

pytestmark = pytest.mark.anyio

SYSTEM = "You research.\nResearcher: r1\nProblem: no_such_problem\nDirection: noise: Clean the labels.\n"
HELLO: list[Any] = [{"role": "user", "content": "Begin."}]
TOOLS: list[Any] = [
    {"type": "bash_20250124", "name": "bash"},
    {"name": "finish", "description": "End.", "input_schema": {"type": "object"}},
]


async def ask(client: AsyncAnthropic, messages: list[Any], **extra: Any) -> Any:
    arguments: dict[str, Any] = {
        "model": OFFLINE_MODEL_ID,
        "max_tokens": 4096,
        "system": SYSTEM,
        "tools": TOOLS,
        **extra,
    }
    return await client.messages.create(messages=messages, **arguments)


async def test_a_whole_message(client: AsyncAnthropic) -> None:
    message = await ask(client, HELLO)
    assert message.role == "assistant"
    assert message.model == OFFLINE_MODEL_ID
    assert message.stop_reason == "tool_use"
    assert SELF_DESCRIPTION in message.content[0].text
    assert message.content[1].name == "finish"
    assert "no repertoire" in message.content[1].input["summary"]


async def test_a_stream_adds_up_to_the_same_message(client: AsyncAnthropic) -> None:
    whole = await ask(client, HELLO)
    async with client.messages.stream(
        model=OFFLINE_MODEL_ID, max_tokens=4096, system=SYSTEM, tools=TOOLS, messages=HELLO
    ) as stream:
        kinds = [event.type async for event in stream]
        streamed = await stream.get_final_message()
    assert [block.model_dump(exclude={"id"}) for block in streamed.content] == [
        block.model_dump(exclude={"id"}) for block in whole.content
    ]
    assert streamed.stop_reason == whole.stop_reason
    assert streamed.usage.output_tokens == whole.usage.output_tokens
    assert streamed.usage.input_tokens == whole.usage.input_tokens
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 2


async def test_events_come_in_the_services_order(client: AsyncAnthropic) -> None:
    body = {"model": OFFLINE_MODEL_ID, "max_tokens": 4096, "system": SYSTEM, "messages": HELLO, "stream": True}
    async with httpx.AsyncClient(base_url=str(client.base_url)) as plain:
        response = await plain.post("/v1/messages", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["request-id"].startswith("req_")
    frames = [frame.split("\n") for frame in response.text.strip().split("\n\n")]
    names = [name.removeprefix("event: ") for name, _ in frames]
    payloads = [json.loads(data.removeprefix("data: ")) for _, data in frames]
    assert names == [payload["type"] for payload in payloads]
    assert names[:2] == ["message_start", "ping"]
    assert names[-2:] == ["message_delta", "message_stop"]
    assert payloads[0]["message"]["content"] == []
    assert payloads[-2]["delta"]["stop_reason"] == "tool_use"


async def test_ids_differ_while_the_turn_is_the_same(client: AsyncAnthropic) -> None:
    first, second = await ask(client, HELLO), await ask(client, HELLO)
    assert first.content[1].id != second.content[1].id
    assert first.content[1].input == second.content[1].input


async def test_tokens_are_counted_without_a_turn(client: AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model=OFFLINE_MODEL_ID, system=SYSTEM, tools=TOOLS, messages=HELLO)
    message = await ask(client, HELLO)
    assert counted.input_tokens == message.usage.input_tokens > 20


async def test_an_answer_that_does_not_fit_says_so(client: AsyncAnthropic) -> None:
    message = await ask(client, HELLO, max_tokens=30)
    assert message.stop_reason == "max_tokens"
    assert [block.type for block in message.content] == ["text"]
    assert message.usage.output_tokens == 30


USE = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([], "messages"),
        ([{"role": "assistant", "content": "Hi."}], "first message"),
        ([*HELLO, {"role": "assistant", "content": "Hi."}], "the last"),
        ([{"role": "user", "content": ""}], "non-empty"),
        ([{"role": "user", "content": [{"type": "text"}]}], "field"),
        ([{"role": "system", "content": "x"}], "role"),
        ([*HELLO, {"role": "assistant", "content": [USE]}, {"role": "user", "content": "Well?"}], "toolu_1"),
        ([*HELLO, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": [RESULT]}], "do not match"),
    ],
)
async def test_malformed_conversations_are_refused(client: AsyncAnthropic, messages: list[Any], complaint: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        await ask(client, messages)
    body = refused.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert complaint in body["error"]["message"]
    assert refused.value.request_id == body["request_id"]


async def test_no_tokens_to_answer_with_is_refused(client: AsyncAnthropic) -> None:
    with pytest.raises(BadRequestError, match="max_tokens"):
        await ask(client, HELLO, max_tokens=-1)


async def test_an_unknown_model_is_not_found(client: AsyncAnthropic) -> None:
    with pytest.raises(NotFoundError) as refused:
        await ask(client, HELLO, model="opus-5")
    assert refused.value.body["error"] == {"type": "not_found_error", "message": "model: opus-5"}  # type: ignore[index]


async def test_an_unknown_route_has_the_apis_error_shape(client: AsyncAnthropic) -> None:
    async with httpx.AsyncClient(base_url=str(client.base_url)) as plain:
        missing, wrong = await plain.get("/v1/nothing"), await plain.get("/v1/messages")
        garbage = await plain.post("/v1/messages", content=b"{")
    assert missing.status_code == 404
    assert wrong.status_code == 405
    assert garbage.status_code == 400
    assert {answer.json()["type"] for answer in (missing, wrong, garbage)} == {"error"}
