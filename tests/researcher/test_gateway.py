"""The gateway alone: what it sends, what it assembles, what it takes for billed."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import SecretStr

from aar.errors import GatewayError, KeyRefused, ModelUnavailable
from aar.researcher.gateway import CallRequest, Gateway, ModelMissing, PromptTooLong, StreamBroken
from aar.researcher.retries import RetryPolicy, retry_after_seconds

from .conftest import KEY, House
from .messages_server import Refusal, Turn, call, say

pytestmark = pytest.mark.anyio

SYSTEM = [{"type": "text", "text": "s"}]
HELLO = [{"role": "user", "content": [say("hé\ud800llo")]}]


def request(**changes: Any) -> CallRequest:
    given = {"model": "m", "system": SYSTEM, "tools": [], "messages": HELLO, "max_tokens": 10}
    return CallRequest(**{**given, **changes})


async def test_a_reply_is_assembled_as_it_was_sent(house: House) -> None:
    content = [
        {"type": "thinking", "thinking": "ä" * 9, "signature": "c2ln"},
        say("two halves"),
        call(1, "bash", command="x\ny", nested={"a": [1, None]}),
    ]
    house.server.play(Turn(content))
    message = await house.gateway(1, 5).complete(request(extra={"temperature": 1}))
    assert message.content == content
    assert message.stop_reason == "tool_use"
    assert message.usage["output_tokens"] == 50
    sent = house.server.requests[0]
    assert sent["stream"] is True
    assert sent["temperature"] == 1
    assert sent["messages"][0]["content"][0]["text"] == "hé?llo"


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (400, "messages.0: no", GatewayError),
        (400, "prompt is too long: 3 tokens > 2 maximum", PromptTooLong),
        (401, "invalid x-api-key", KeyRefused),
        (403, "not allowed", KeyRefused),
        (404, "model: m", ModelMissing),
        (413, "request_too_large", PromptTooLong),
    ],
)
async def test_what_trying_again_cannot_mend(house: House, status: int, message: str, error: type[Exception]) -> None:
    house.server.play(Refusal(status, message))
    with pytest.raises(error, match=message) as caught:
        await house.gateway(1, 5).complete(request())
    assert type(caught.value) is error


async def test_retry_after_is_honoured_within_the_deadline(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("aar.researcher.gateway.anyio.sleep", note)

    house.server.play(Refusal(429, headers={"retry-after": "3"}), Refusal(529, headers={"retry-after": "1e9"}))
    with pytest.raises(ModelUnavailable, match="529"):
        await house.gateway(60, 5).complete(request())
    assert len(pauses) == 1
    assert 3 <= pauses[0] < 4


async def test_nobody_there_is_not_billed(house: House) -> None:
    gateway = Gateway("http://127.0.0.1:1", SecretStr(KEY), policy=RetryPolicy(deadline=0.05, first=0.01))
    with pytest.raises(ModelUnavailable, match="cannot reach") as caught:
        await gateway.complete(request())
    await gateway.close()
    assert not isinstance(caught.value, StreamBroken)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(("after", "seen"), [(0, False), (1, True), (5, True)])
@pytest.mark.parametrize("breaking", ["drop", "error", "silence"])
async def test_a_broken_stream_tells_the_usage_it_saw(house: House, after: int, seen: bool, breaking: str) -> None:
    house.server.play(Turn([say("half")], breaks_after=after, breaking=breaking))
    with pytest.raises(StreamBroken) as caught:
        await house.gateway(5, 0.3).complete(request())
    assert ("input_tokens" in caught.value.usage) is seen
    assert len(house.server.requests) == 1


def test_delays_grow_and_stop_at_the_deadline() -> None:
    policy = RetryPolicy(deadline=100, first=1, longest=8)
    for attempt, most in ((1, 1), (2, 2), (3, 4), (9, 8)):
        delay = policy.delay(attempt, None, 0)
        assert delay is not None
        assert most / 2 <= delay <= most
    assert policy.delay(9, None, 99) is None
    assert policy.delay(1, 200, 0) is None


def test_retry_after_in_all_its_forms() -> None:
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert retry_after_seconds({"retry-after": "7"}) == 7
    assert retry_after_seconds({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert 90 < (retry_after_seconds({"retry-after": later}) or 0) <= 100
    for bad in ("soon", "-4", "nan", "inf", ""):
        assert retry_after_seconds({"retry-after": bad}) is None
    assert retry_after_seconds({}) is None


@pytest.mark.parametrize("breaking", ["drop", "silence"])
async def test_a_whole_reply_counts_though_its_stream_has_no_end(house: House, breaking: str) -> None:
    house.server.play(Turn([say("all of it")], breaks_after=100, breaking=breaking))
    reply = await house.gateway(5.0, 0.5).complete(request())
    assert reply.content == [say("all of it")]
