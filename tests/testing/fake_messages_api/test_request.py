"""What the double refuses, with the error that the SDK makes of it."""

from __future__ import annotations

import base64
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import BadRequestError

from aar.testing.fake_messages_api import FakeMessagesApi, ServerRules, serve_app

from .conftest import Talking

pytestmark = pytest.mark.anyio

MODEL = "claude-sonnet-4-6"
HI: Any = {"role": "user", "content": "Hello"}
USE = {"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"command": "ls"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
TEXT = {"type": "text", "text": "and?"}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(60)).decode()


def ai(*content: Any) -> Any:
    return {"role": "assistant", "content": list(content)}


def me(*content: Any) -> Any:
    return {"role": "user", "content": list(content)}


def image(data: str, media_type: str = "image/png") -> Any:
    return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}


MARK = {"cache_control": {"type": "ephemeral"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
TOOL: Any = {"name": "bash", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"messages": []}, "messages: at least one"),
        ({"messages": [ai(TEXT)]}, 'first message must use the "user" role'),
        ({"messages": [HI, ai(TEXT)]}, "prefill"),
        ({"messages": [me()]}, "non-empty content"),
        (
            {"messages": [me({"type": "text", "text": ""})]},
            "messages.0.content.0: text content blocks must be non-empty",
        ),
        ({"messages": [me({"type": "text", "text": " \n"})]}, "non-whitespace"),
        ({"messages": [me({"type": "text"})]}, "messages.0.content.0.text.text: Field required"),
        ({"messages": [me({"type": "sound"})]}, "messages.0.content.0: Input tag"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0"),
        ({"messages": [me({**TEXT, "colour": 1})]}, "messages.0.content.0.text.colour: Extra inputs"),
        ({"messages": [HI, ai(USE), me(TEXT)]}, "without `tool_result` blocks immediately after: toolu_1"),
        ({"messages": [HI, ai(USE), me(TEXT, RESULT)]}, "without `tool_result`"),
        ({"messages": [HI, ai(TEXT), me(RESULT)]}, "messages.2.content.0: unexpected `tool_use_id`"),
        ({"messages": [HI, ai(USE), me(RESULT, RESULT)]}, "single result"),
        ({"messages": [HI, ai(USE), me(RESULT), ai(USE), me(RESULT)]}, "must be unique"),
        ({"messages": [me(USE)]}, "can only be in `assistant`"),
        ({"messages": [HI, ai(RESULT), HI]}, "can only be in `user`"),
        ({"messages": [me(image("A"))]}, "invalid base64"),
        ({"messages": [me(image(PNG, "image/jpeg"))]}, "appears to be a image/png"),
        ({"messages": [me(image(PNG, "image/bmp"))]}, "media_type: Input should be"),
        ({"messages": [HI, ai(USE), me({**RESULT, "content": [image("A")]})]}, "messages.2.content.0.content.0.image"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 64_001}, "64001 > 64000, which is the maximum allowed number of output tokens"),
        ({"model": "claude-opus-4-8", "max_tokens": 128_001}, "> 128000"),
        ({"extra_body": {"temperature": 1.0}}, "temperature: Extra inputs are not permitted"),
        ({"extra_body": {"colour": "red"}}, "colour: Extra inputs are not permitted"),
        ({"extra_body": {"context_management": {"edits": []}}}, "context_management: Extra inputs"),
        ({"extra_body": {"thread": {"id": "x"}}}, "thread"),
        ({"tools": [TOOL, TOOL]}, "Tool names must be unique"),
        ({"tools": [{"name": "bash"}]}, "tools.0.custom.input_schema: Field required"),
        ({"tools": [{"type": "bash_20250124", "name": "bush"}]}, "tools.0.bash_20250124.name"),
        ({"tool_choice": {"type": "any"}}, "while providing tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "no"}}, "not found in provided tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "any"}, "thinking": {"type": "adaptive"}}, "forces tool use"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1000}}, "greater than or equal to 1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, "must be greater than `thinking.budget_tokens`"),
        ({"model": "claude-haiku-4-5", "thinking": {"type": "adaptive"}}, "not supported on claude-haiku-4-5"),
        ({"model": "claude-opus-5-5", "thinking": {"type": "disabled"}}, "not supported on claude-opus-5-5"),
        ({"system": [{**TEXT, **MARK}] * 5}, "maximum of 4 blocks with cache_control may be provided. Found 5"),
        ({"system": [{**TEXT, **MARK}] * 4, **MARK}, "Found 5"),
        ({"system": [{**TEXT, **MARK}], "messages": [me({**TEXT, **HOUR})]}, "must not come after a ttl='5m'"),
    ],
)
async def test_what_does_not_hold_is_refused(talking: Talking, given: dict[str, Any], complaint: str) -> None:
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 2000, "messages": [HI], **given}
    async with talking(["never"]) as (client, double):
        with pytest.raises(BadRequestError) as refused:
            await client.messages.create(**asked)
        assert refused.value.type == "invalid_request_error"
        assert complaint in (refused.value.api_message or "")
        assert refused.value.request_id == refused.value.body["request_id"]  # type: ignore[index]
        assert double.requests[0].status == 400


async def test_what_the_service_takes_is_taken(talking: Talking) -> None:
    messages: Any = [HI, HI, ai(TEXT), ai(USE), me(RESULT), me(image(PNG))]
    async with talking(["a", "b"]) as (client, double):
        # Messages of one role in a row are one turn.
        await client.messages.create(model=MODEL, max_tokens=0, messages=messages, tools=[TOOL])
        old = {"anthropic-version": "2023-06-01"}
        await client.messages.create(
            model=MODEL, max_tokens=5, messages=[HI], extra_body={"temperature": 0.5}, extra_headers=old
        )
    assert double.requests[0].answer is not None
    assert double.requests[0].answer["usage"]["output_tokens"] == 0


async def test_prefill_where_a_model_has_it(talking: Talking) -> None:
    asked: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 9}
    async with talking(["(b)"]) as (client, _):
        await client.messages.create(messages=[HI, {"role": "assistant", "content": "It is"}], **asked)
        with pytest.raises(BadRequestError, match="trailing whitespace"):
            await client.messages.create(messages=[HI, {"role": "assistant", "content": "It is "}], **asked)


async def test_keys_models_and_sizes(talking: Talking) -> None:
    rules = ServerRules(models=["m"], keys=["sk-right"], most_bytes=2000)
    asked: dict[str, Any] = {"max_tokens": 9, "messages": [HI]}
    async with talking(["ok"], rules=rules, key="sk-right") as (client, double):
        with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
            await client.with_options(api_key="sk-wrong").messages.create(model="m", **asked)
        with pytest.raises(anthropic.NotFoundError, match="model: n"):
            await client.messages.create(model="n", **asked)
        with pytest.raises(anthropic.RequestTooLargeError):
            await client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "x" * 3000}])
        await client.messages.create(model="m", extra_headers={"x-api-key": "sk-right"}, **asked)
        assert [model.id async for model in client.models.list()] == ["m"]
        assert "sk-" not in str(list(double.requests))


async def test_what_is_no_message_has_the_errors_envelope() -> None:
    async with (
        serve_app(FakeMessagesApi(["never"])) as base_url,
        httpx.AsyncClient(base_url=base_url, trust_env=False) as plain,
    ):
        missing, wrong = await plain.get("/v1/nothing"), await plain.get("/v1/messages")
        garbage = await plain.post("/v1/messages", content=b"{", headers={"anthropic-version": "2026-10-21"})
        no_version = await plain.post("/v1/messages", json={"model": MODEL})
    answers = [missing, wrong, garbage, no_version]
    assert [answer.status_code for answer in answers] == [404, 405, 400, 400]
    for answer in answers:
        assert answer.json()["type"] == "error"
        assert answer.json()["request_id"] == answer.headers["request-id"]


async def test_a_prompt_beyond_the_window_is_too_long(talking: Talking) -> None:
    text = "x" * 4 * 200_001
    async with talking(["never"]) as (client, _):
        with pytest.raises(BadRequestError, match="prompt is too long: 200001 tokens > 200000 maximum"):
            await client.messages.create(
                model="claude-haiku-4-5", max_tokens=5, messages=[{"role": "user", "content": text}]
            )


async def test_a_model_that_fails_is_an_error_of_the_service(talking: Talking) -> None:
    async with talking([]) as (client, _):
        with pytest.raises(anthropic.InternalServerError, match="the script has no reply left"):
            await client.messages.create(model=MODEL, max_tokens=5, messages=[HI])
