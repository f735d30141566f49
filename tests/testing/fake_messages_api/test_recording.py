"""Recording a service and playing it back; the service is another double, behind real HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic
import pytest

from aar.errors import DataMissing
from aar.testing.fake_messages_api import (
    FakeMessagesApi,
    HttpError,
    ModelReply,
    RecordingProxy,
    ReplayModel,
    ServerRules,
    faults_at_requests,
    serve_app,
    thinking_block,
    tool_use_block,
)

from .conftest import Talking

pytestmark = pytest.mark.anyio

KEY = "sk-ant-secret-0123456789"
MODEL = "claude-sonnet-4-6"
TOOLS: list[Any] = [{"name": "bash", "input_schema": {"type": "object"}}]


def asked(text: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {"model": MODEL, "max_tokens": 500, "tools": TOOLS, "messages": messages, "thinking": {"type": "adaptive"}}


async def recorded(path: Path) -> list[Any]:
    """Three exchanges with a service: a stream, a whole answer, an error."""
    service = FakeMessagesApi(
        [ModelReply([thinking_block("hm"), tool_use_block("bash", command="ls")]), f"your key is {KEY}"],
        rules=ServerRules(keys=[KEY]),
        faults=faults_at_requests({2: HttpError(429, retry_after=3)}),
    )
    recorder = RecordingProxy("http://nowhere", path)
    async with serve_app(service) as url:
        recorder = RecordingProxy(url, path)
        async with serve_app(recorder) as base_url:
            http = anthropic.DefaultAsyncHttpxClient(trust_env=False)
            async with anthropic.AsyncAnthropic(
                base_url=base_url, api_key=KEY, max_retries=0, http_client=http
            ) as client:
                async with client.messages.stream(**asked("one")) as stream:
                    first = await stream.get_final_message()
                second = await client.messages.create(**asked(f"two {KEY}"))
                with pytest.raises(anthropic.RateLimitError):
                    await client.messages.create(**asked("three"))
        await recorder.close()
    return [first, second]


async def test_no_key_is_written(tmp_path: Path) -> None:
    path = tmp_path / "exchanges.jsonl"
    await recorded(path)
    written = path.read_text()
    assert KEY not in written
    assert "[key]" in written
    assert "authorization" not in written.lower()
    assert "x-api-key" not in written.lower()
    assert [json.loads(line)["status"] for line in written.splitlines()] == [200, 200, 429]


async def test_a_recording_plays_back(tmp_path: Path, talking: Talking) -> None:
    path = tmp_path / "exchanges.jsonl"
    first, second = await recorded(path)
    async with talking(ReplayModel(path, exact=True)) as (client, _):
        with pytest.raises(anthropic.RateLimitError) as caught:
            await client.messages.create(**asked("three"))
        assert caught.value.response.headers["retry-after"] == "3"
        async with client.messages.stream(**asked("one")) as stream:
            assert (await stream.get_final_message()).content == first.content
        with pytest.raises(anthropic.InternalServerError, match="not recorded"):
            await client.messages.create(**asked("four"))
    async with talking(ReplayModel(path)) as (client, _):
        async with client.messages.stream(**asked("anything")) as stream:
            assert (await stream.get_final_message()).usage == first.usage
        answer = await client.messages.create(**asked("anything"))
        assert answer.content[0].text == second.content[0].text.replace(KEY, "[key]")  # type: ignore[union-attr]


async def test_a_service_that_cannot_be_reached(tmp_path: Path, talking: Talking) -> None:
    recorder = RecordingProxy("http://127.0.0.1:1", tmp_path / "none.jsonl")
    async with serve_app(recorder) as url:
        http = anthropic.DefaultAsyncHttpxClient(trust_env=False)
        async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0, http_client=http) as client:
            with pytest.raises(anthropic.InternalServerError, match="cannot be reached"):
                await client.messages.create(**asked("one"))
    await recorder.close()


def test_no_recording_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"nothing\.jsonl"):
        ReplayModel(tmp_path / "nothing.jsonl")
