"""The gateway alone: what it sends, what it assembles, what it takes for billed."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any, get_args

import anyio
import pytest
from pydantic import SecretStr

from aar.errors import GatewayError, KeyRefused, ModelUnavailable
from aar.events import AnyEvent
from aar.llm.api_errors import (
    ConversationRejected,
    RetryPolicy,
    ServicePausing,
    ServiceUnreachable,
    retry_after_seconds,
)
from aar.llm.capabilities import NO_CAPABILITIES
from aar.llm.concurrency_limiter import AdaptiveLimiter, LimiterPolicy, ServiceOutageMonitor
from aar.llm.content import INVALID_INPUT, RESENDABLE_TYPES, resendable_block
from aar.llm.gateway import Gateway, ModelNotFound, ModelRequest, PromptTooLong, SendStatus, StreamInterrupted
from aar.llm.request import encode_json
from aar.llm.response import _END as END
from aar.llm.response import read_event_batches

from ..llm.test_aiohttp_transport import serving
from .conftest import KEY, House
from .messages_server import Raw, Refusal, Turn, call, say

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


async def test_nobody_waits_in_line_beyond_their_patience_for_a_service_that_is_away() -> None:
    pacer = AdaptiveLimiter(LimiterPolicy(failures=4, cooldown=60.0))
    gateway = Gateway(
        "http://127.0.0.1:1", SecretStr(KEY), policy=RetryPolicy(deadline=1.0, first=0.01, longest=0.1), pacer=pacer
    )
    await gateway.warm_up()
    await gateway._opened()
    ended = asyncio.gather(*(gateway.complete(request()) for _ in range(4)), return_exceptions=True)
    try:
        errors = await asyncio.wait_for(ended, 20)
    finally:
        await gateway.close()
    assert pacer.is_open
    assert pacer.under_way == 0
    assert [type(error) for error in errors] == [ServiceUnreachable] * 4
    assert all("cannot reach" in str(error) for error in errors)


@pytest.mark.parametrize(
    ("after", "breaking"),
    [(0, "drop"), (0, "silence"), *((n, how) for n in (1, 5) for how in ("drop", "error", "silence"))],
)
async def test_a_broken_stream_tells_the_usage_it_saw(house: House, after: int, breaking: str) -> None:
    house.server.play(Turn([say("half")], breaks_after=after, breaking=breaking))
    with pytest.raises(StreamInterrupted) as caught:
        await house.gateway(5, 0.3).complete(request())
    assert ("input_tokens" in caught.value.usage) is bool(after)
    assert len(house.server.requests) == 1


def test_delays_grow_and_stop_at_the_deadline() -> None:
    policy = RetryPolicy(deadline=100, first=1, longest=8)
    for attempt, most in ((1, 1), (2, 2), (3, 4), (9, 8)):
        delay = policy.delay(attempt, 0)
        assert delay is not None
        assert most / 2 <= delay <= most
    assert policy.delay(9, 99) is None
    assert policy.delay(9, 99, asked=200) is not None


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


@pytest.mark.parametrize(
    "answer",
    [
        Raw(b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'),
        Raw(b'{"type":"error","error":{"type":"rate_limit_error","message":"slowly"}}', "application/json"),
        Raw(b"<html>Sign in</html>", "text/html"),
        Raw(b"", "text/event-stream"),
        Raw(b"", "application/json"),
        Raw(b'{"detail": "busy"}', "application/json"),
        Raw(b"upstream connect error", "text/event-stream"),
        Raw(b"data: overloaded\n\n", "text/event-stream"),
        Raw(b'data: {"error": {"type": "overloaded_error", "message": "busy"}}\n\n'),
        Raw(b'{"error": {"message": "busy"}}', "text/event-stream"),
        Raw(b'{"cut": ', "text/plain"),
    ],
)
async def test_what_came_before_any_reply_is_free_and_tried_again(house: House, answer: Raw) -> None:
    house.server.play(answer, answer, Turn([say("here")]))
    assert (await house.gateway(5, 5).complete(request())).content == [say("here")]
    house.server.script = lambda _: answer
    with pytest.raises(ModelUnavailable) as caught:
        await house.gateway(0.1, 5).complete(request())
    assert not isinstance(caught.value, StreamInterrupted)


async def test_errors_in_place_of_a_stream_are_told_apart(house: House) -> None:
    for kind, error in (("authentication_error", KeyRefused), ("not_found_error", ModelNotFound)):
        body = f'event: error\ndata: {{"type":"error","error":{{"type":"{kind}","message":"{KEY}"}}}}\n\n'
        house.server.play(Raw(body.encode()))
        with pytest.raises(error) as caught:
            await house.gateway(1, 5).complete(request())
        assert KEY not in str(caught.value)


async def test_a_message_in_one_piece_is_a_reply(house: House) -> None:
    content = [say("all at once"), {"type": "tool_use", "id": "t", "name": "bash", "input": {"command": "x"}}]
    message = {"type": "message", "model": "m", "content": content, "stop_reason": "tool_use"}
    usage = {"input_tokens": 7, "output_tokens": 3}
    house.server.play(Raw(json.dumps({**message, "usage": usage}).encode(), "application/json"))
    reply = await house.gateway(1, 5).complete(request())
    assert (reply.content, reply.stop_reason, reply.usage) == (content, "tool_use", usage)
    assert not reply.reported.bill(asked="m", model=reply.model, content=True).doubts


def _sent(events: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)


@pytest.mark.parametrize("kind", ["text/event-stream", "text/plain", "application/octet-stream"])
async def test_what_follows_a_whole_reply_in_one_piece_undoes_nothing_whatever_type_it_has(
    house: House, kind: str
) -> None:
    """Gateways end a stream with a word that is no JSON, and proxies call a stream something else."""
    house.server.play(Raw(_sent(Turn([say("all")]).events("m", 3)) + b"data: [DONE]\n\n", kind))
    assert (await house.gateway(1, 5).complete(request())).content == [say("all")]


@pytest.mark.parametrize("told", [[1], {"applied_edits": [{"cleared_tool_uses": "x"}, {"cleared_tool_uses": 1e308}]}])
async def test_no_reply_is_given_up_over_what_it_says_beside(house: House, told: Any) -> None:
    events = Turn([say("all")]).events("m", 3)
    events[-2]["context_management"] = told
    events.insert(4, {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": None}})
    house.server.play(Raw(_sent(events)))
    reply = await house.gateway(1, 5).complete(request())
    assert (reply.content, reply.cleared_tool_uses) == ([say("all")], 0)


async def test_an_input_given_as_the_text_of_its_json_is_read(house: House) -> None:
    message = {"type": "message", "content": [{**call(1, "bash"), "input": '{"command": "ls"}'}]}
    house.server.play(Raw(json.dumps(message).encode(), "application/json"))
    [block] = (await house.gateway(1, 5).complete(request())).content
    assert block["input"] == {"command": "ls"}


async def test_a_stream_that_goes_on_and_says_nothing_has_an_end() -> None:
    nothing = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": ""}}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.write(_sent(Turn([say("x")]).events("m", 3)[:3]))
        while not writer.is_closing():
            writer.write(_sent([nothing, {"type": "ping"}, {"type": "keepalive"}]))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(serve) as url:
        gateway = Gateway(url, SecretStr(KEY), timeout=0.5)
        with anyio.fail_after(20), pytest.raises(StreamInterrupted, match="no progress"):
            await gateway.complete(request())
        await gateway.close()


async def test_names_that_no_event_can_hold_lose_no_reply(house: House) -> None:
    events = Turn([say("all")], stop_reason="odd \ud800" * 1000, named="m\0" * 5000).events("m", 3)
    house.server.play(Raw(_sent(events)))
    reply = await house.gateway(1, 5).complete(request())
    assert reply.model == "m\ufffd" * 100
    assert reply.stop_reason.startswith("odd \ufffd")
    assert len(reply.stop_reason) == 200


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


async def test_an_error_after_the_end_undoes_nothing(house: House) -> None:
    whole = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in Turn([say("all")]).events("m", 3))
    late = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"x"}}\n\n'
    house.server.play(Raw(whole + late))
    assert (await house.gateway(1, 5).complete(request())).content == [say("all")]


@pytest.mark.parametrize("how", ["in good order", "inside a chunk", "before the first byte"])
async def test_three_ways_a_stream_breaks(house: House, how: str) -> None:
    """To the SDK the first looks like a whole message, the second is no error of its own kinds, and the third one that
    it tries again."""
    events = Turn([say("half")]).events("m", 3)[:5]
    half = b"".join(b"data: %s\n\n" % json.dumps(event).encode() for event in events)
    house.server.play({"in good order": Raw(half), "inside a chunk": Raw(half, cut=True)}.get(how, Raw(None)))
    with pytest.raises(StreamInterrupted) as caught:
        await house.gateway(5, 5).complete(request())
    assert ("input_tokens" in caught.value.usage) is (how != "before the first byte")
    assert len(house.server.requests) == 1


async def test_the_key_is_in_no_error_of_a_stream(house: House) -> None:
    start = b"data: %s\n\n" % json.dumps(Turn([]).events("m", 3)[0]).encode()
    error = {"type": "error", "error": {"type": "api_error", "message": f"bad key {KEY}"}}
    for rest in (b"data: %s\n\n" % json.dumps(error).encode(), b"data: [%s]\n\n" % KEY.encode()):
        house.server.play(Raw(start + rest))
        with pytest.raises(StreamInterrupted) as caught:
            await house.gateway(5, 5).complete(request())
        assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_start", "index": 0},
        {"type": "content_block_start", "index": 0, "content_block": None},
        {"type": "content_block_delta", "index": 9, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "content_block_delta", "index": 0, "delta": None},
        {"type": "message_delta", "delta": None},
        {"type": "message_start", "message": {"usage": {"input_tokens": 0, "output_tokens": 0}}},
    ],
)
async def test_events_that_make_no_sense_break_the_stream(house: House, event: dict[str, Any]) -> None:
    start = Turn([]).events("m", 3)[0]
    house.server.play(Raw(b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in (start, event))))
    with pytest.raises(StreamInterrupted) as caught:
        await house.gateway(5, 5).complete(request())
    assert caught.value.usage["input_tokens"] == 3


@pytest.mark.parametrize("raw", ['{"n": NaN}', '{"n": -Infinity}', "[" * 5000, '{"n": ' + "9" * 5000 + "}"])
async def test_input_that_is_no_json_is_kept_for_the_tool_to_refuse(house: House, raw: str) -> None:
    house.server.play(Turn([call(1, "wait")], raw_input=raw))
    [block] = (await house.gateway(1, 5).complete(request())).content
    assert block["input"] == {INVALID_INPUT: raw[:2000]}


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
    with anyio.fail_after(5):
        assert await asked.capabilities("m") == NO_CAPABILITIES
    await asked.close()
    server.close()
    assert len(heard) == 1


@pytest.mark.parametrize("kind", ["text/plain", "text/event-stream", ""])
async def test_a_whole_message_is_a_reply_whatever_type_it_is_said_to_have(house: House, kind: str) -> None:
    message = {"type": "message", "model": "m", "content": [say("all")], "usage": {"input_tokens": 7}}
    house.server.play(Raw(b"\n " + json.dumps(message).encode(), kind))
    assert (await house.gateway(1, 5).complete(request())).content == [say("all")]


@pytest.mark.parametrize(
    "answer",
    [
        Raw(b'{"choices": [{"message": {"content": "x"}}]}', "application/json"),
        Raw(b'{"content": [{"type": "te', "application/json"),
        Raw(b'data: {"type": "message_start", "message": {"role\n\n'),
    ],
)
async def test_what_was_generated_is_not_free_though_it_cannot_be_read(house: House, answer: Raw) -> None:
    house.server.play(answer)
    with pytest.raises(StreamInterrupted):
        await house.gateway(1, 5).complete(request())


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


async def test_an_outage_is_told_at_its_first_failure_once_a_minute_and_at_its_end() -> None:
    told: list[AnyEvent] = []
    now = [1000.0]
    watch = ServiceOutageMonitor("http://s", told.append, lambda: now[0])
    error = ModelUnavailable("cannot reach http://s")
    for _ in range(130):
        watch.record_failure(error, 40)
        now[0] += 1
    assert [event.summary() for event in told] == [
        f"cannot reach http://s; try {tries}, next in 40 s" for tries in (1, 61, 121)
    ]
    watch.record_failure(error, 3600, 3600)
    now[0] += 1
    watch.record_failure(error, 3599, 3599)
    watch.record_reply()
    assert [event.kind for event in told[3:]] == ["model_service_unavailable", "model_service_recovered"]
    assert re.search(r"asks for a pause until \d{4}-.* UTC", told[3].summary())
    assert (watch.has_ever_answered, watch.error, watch.tries) == (True, None, 0)


async def test_an_outage_that_lasts_is_told_however_lately_another_was() -> None:
    told: list[AnyEvent] = []
    now = [1000.0]
    watch = ServiceOutageMonitor("http://s", told.append, lambda: now[0])
    watch.record_failure(ModelUnavailable("the service answered 500"), 1)
    watch.record_reply()
    now[0] += 20
    for _ in range(15):
        watch.record_failure(ModelUnavailable("cannot reach http://s"), 1)
        now[0] += 1
    watch.record_reply()
    assert [event.summary() for event in told[2:]] == [
        "cannot reach http://s; try 6, next in 1 s",
        "http://s answers again, after 15 failed tries in 15 s",
    ]
    watch.record_failure(ModelUnavailable("the service answered 500"), 1)
    now[0] += 1
    watch.record_failure(ModelUnavailable("the service answered 500"), 1)
    assert len(told) == 4


ODD_BLOCKS: list[tuple[dict[str, Any], str]] = [
    ({"type": "reasoning_v9", "words": "hm"}, "text"),
    ({"type": None}, "text"),
    ({"type": "text", "text": None}, "text"),
    ({"type": "text", "text": "\ud83d\ude00 \ud83d"}, "text"),
    ({"type": "thinking", "thinking": 5}, "thinking"),
    ({"type": "tool_use", "id": "t", "name": "a b\n", "input": {"n": float("nan")}}, "tool_use"),
    ({"type": "tool_use", "id": 5, "name": "x" * 500, "input": [1]}, "tool_use"),
    ({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"n": float("inf")}}, "text"),
]


@pytest.mark.parametrize(("block", "kind"), ODD_BLOCKS)
def test_every_block_is_taken_in_as_one_that_can_go_back(block: dict[str, Any], kind: str) -> None:
    sound = resendable_block(block)
    json.loads(encode_json([sound]), parse_constant=lambda name: pytest.fail(name))
    assert sound["type"] == kind
    assert not re.search("[\ud800-\udfff]", json.dumps(sound, ensure_ascii=False))
    if kind == "tool_use":
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", sound["name"])
        assert list(sound["input"]) == [INVALID_INPUT]
    elif kind == "text":
        assert isinstance(sound["text"], str)


def test_what_the_sdk_knows_of_replies_goes_back_as_it_came() -> None:
    from anthropic.types.beta import BetaContentBlock

    known = {get_args(each.model_fields["type"].annotation)[0] for each in get_args(get_args(BetaContentBlock)[0])}
    assert known <= RESENDABLE_TYPES
    block = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"new": None}], "later": 1}
    assert resendable_block(block) == block


async def test_an_event_that_never_ends_is_read_once_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pieces(text: bytes, size: int) -> AsyncIterator[bytes]:
        for at in range(0, len(text), size):
            yield text[at : at + size]

    searched = 0

    class Counting:
        def search(self, text: bytes) -> Any:
            nonlocal searched
            searched += len(text)
            return END.search(text)

        def split(self, text: bytes) -> list[bytes]:
            nonlocal searched
            searched += len(text)
            return END.split(text)

    monkeypatch.setattr("aar.llm.response._END", Counting())
    text = b'data: {"a": "' + b"x" * 100_000 + b'"}\r\n\r\ndata: {"b": 1}\n\n'
    for size in (7, 64):
        searched = 0
        found = [event async for batch in read_event_batches(pieces(text, size)) for event in batch]
        assert [list(event) for event in found] == [["a"], ["b"]]
        assert searched < 3 * len(text)
    monkeypatch.setattr("aar.llm.response.LONGEST_EVENT", 1000)
    with pytest.raises(ValueError, match="an event of over 1000 bytes"):
        [event async for event in read_event_batches(pieces(text, 64))]
