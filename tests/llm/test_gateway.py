"""The gateway alone: what it sends, what it assembles, what it takes for billed."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from aar.errors import GatewayError, KeyRefused, ModelUnavailable
from aar.llm.api_errors import (
    ConversationRejected,
    RetryPolicy,
    ServicePausing,
    ServiceUnreachable,
)
from aar.llm.capabilities import NO_CAPABILITIES
from aar.llm.gateway import Gateway, ModelNotFound, ModelRequest, PromptTooLong, SendStatus, StreamInterrupted

from ..messages_server import Refusal, Turn, call, say
from ..researcher.conftest import KEY, House
from .test_aiohttp_transport import serving

pytestmark = pytest.mark.anyio

SYSTEM = [{"type": "text", "text": "s"}]
HELLO = [{"role": "user", "content": [say("hé\ud800llo")]}]


def request(**changes: Any) -> ModelRequest:
    given = {"model": "m", "system": SYSTEM, "tools": [], "messages": HELLO, "max_tokens": 10}
    return ModelRequest(**{**given, **changes})


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
        (400, "tools.0: no", GatewayError),
        (400, "messages.3.content.0: no such block", ConversationRejected),
        (400, "messages: text content blocks must be non-empty", ConversationRejected),
        (400, "`tool_use` ids must be unique", ConversationRejected),
        (400, "prompt is too long: 3 tokens > 2 maximum", PromptTooLong),
        (400, "input length and `max_tokens` exceed context limit: 195000 + 8192 > 200000", PromptTooLong),
        (400, "Input is too long for requested model.", PromptTooLong),
        (401, "invalid x-api-key", KeyRefused),
        (403, "not allowed", KeyRefused),
        (404, "model: m", ModelNotFound),
        (413, "request_too_large", PromptTooLong),
    ],
)
async def test_what_trying_again_cannot_mend(house: House, status: int, message: str, error: type[Exception]) -> None:
    house.server.play(Refusal(status, message))
    with pytest.raises(error, match=re.escape(message)) as caught:
        await house.gateway(1, 5).complete(request())
    assert type(caught.value) is error


async def test_nobody_tries_before_the_time_that_the_service_named_and_to_wait_for_it_is_no_failure(
    house: House,
) -> None:
    asked = Refusal(503, headers={"retry-after": "0.15"})
    house.server.play(asked, asked, asked, Turn([say("here")]))
    gateway, came = house.gateway(0.3, 5), []

    async def note() -> None:
        came.append(time.monotonic())

    house.server.before_reply = note
    assert (await gateway.complete(request())).content == [say("here")]
    assert all(later - earlier >= 0.15 for earlier, later in itertools.pairwise(came))
    house.server.play(Refusal(429, headers={"retry-after": "1e9"}))
    with pytest.raises(ServicePausing, match="asks for a pause until"):
        await gateway.complete(request())


async def test_nobody_there_is_not_billed(house: House) -> None:
    gateway = Gateway("http://127.0.0.1:1", SecretStr(KEY), policy=RetryPolicy(deadline=0.05, first=0.01))
    with pytest.raises(ModelUnavailable, match="cannot reach") as caught:
        await gateway.complete(request())
    await gateway.close()
    assert not isinstance(caught.value, StreamInterrupted)
    assert KEY not in str(caught.value)


BROKEN_ERRORS = {
    "cut short": b"HTTP/1.1 500 X\r\ncontent-length: 1000\r\nconnection: close\r\n\r\n{",
    "packed otherwise": b"HTTP/1.1 529 X\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno",
    "no words": b"HTTP/1.1 503 X\r\ncontent-type: application/json\r\ncontent-length: 34\r\nconnection: close\r\n\r\n"
    b'{"error":{"message":{"detail":1}}}',
    "elsewhere": b"HTTP/1.1 307 X\r\nlocation: /other\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    "nothing": b"HTTP/1.1 204 X\r\nconnection: close\r\n\r\n",
}


@pytest.mark.parametrize("how", BROKEN_ERRORS)
async def test_a_status_that_refuses_is_free_whatever_comes_with_it(how: str) -> None:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(BROKEN_ERRORS[how])
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    flight = SendStatus()
    async with serving(serve) as url:
        gateway = Gateway(url, SecretStr(KEY), policy=RetryPolicy(deadline=0.01, first=0.1))
        with anyio.fail_after(10), pytest.raises(ModelUnavailable) as caught:
            await gateway.complete(request(), status=flight)
        await gateway.close()
    assert not isinstance(caught.value, StreamInterrupted)
    assert not flight.sent
    assert len(heard) == 1  # a redirect would be sent the key
    if how == "elsewhere":
        assert "answered 307" in str(caught.value)
        assert "/other" in str(caught.value)


async def test_what_was_never_sent_is_known(house: House) -> None:
    flight = SendStatus()
    nobody = Gateway("http://127.0.0.1:1", policy=RetryPolicy(deadline=0.05, first=0.01))
    with pytest.raises(ModelUnavailable):
        await nobody.complete(request(), status=flight)
    await nobody.close()
    assert not flight.sent
    house.server.script = lambda _: Refusal(529)
    with pytest.raises(ModelUnavailable):
        await house.gateway(0.05, 5).complete(request(), status=flight)
    assert not flight.sent
    house.server.script = lambda _: Turn([say("half")], breaks_after=2, breaking="silence")
    with anyio.move_on_after(0.3):
        await house.gateway(5, 5).complete(request(), status=flight)
    assert flight.sent


async def test_capabilities_are_not_waited_for(house: House) -> None:
    """The SDK's own retries obey a Retry-After of any length; they are off, and the question has a bound."""
    gateway = house.gateway(5, 5)
    client = await gateway._opened()
    assert client.max_retries == 0
    heard: list[float] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        heard.append(time.monotonic())
        writer.write(b"HTTP/1.1 429 X\r\nretry-after: 3600\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    asked = Gateway(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", SecretStr(KEY))
    with anyio.fail_after(30):
        assert await asked.capabilities("m") == NO_CAPABILITIES
    await asked.close()
    server.close()
    assert len(heard) == 1


async def test_a_page_in_the_place_of_a_service_that_answered_is_waited_out(house: House) -> None:
    page = Refusal(403, "<html>no</html>", {"content-type": "text/html"})
    gateway = house.gateway(5, 5)
    house.server.play(Turn([say("a")]), page, Turn([say("b")]))
    await gateway.complete(request())
    assert (await gateway.complete(request())).content == [say("b")]


async def test_a_page_where_nobody_ever_answered_is_a_wrong_address(house: House) -> None:
    house.server.script = lambda _: Refusal(404, "<html>not here</html>", {"content-type": "text/html"})
    with pytest.raises(
        ServiceUnreachable, match="answered 404 with text/html instead of a reply of the model"
    ) as caught:
        await house.gateway(5, 5).complete(request())
    assert caught.value.remedy == "Check the base URL and proxies on the way"
    assert len(house.server.requests) == 1
