"""What a gateway makes of replies: whole, broken, odd, or in another form."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anyio
import pytest
from pydantic import SecretStr

from aar.errors import KeyRefused, ModelUnavailable
from aar.llm.content import INVALID_INPUT
from aar.llm.gateway import Gateway, ModelNotFound, StreamInterrupted

from ..messages_server import Raw, Turn, call, say
from ..researcher.conftest import KEY, House
from .test_aiohttp_transport import serving
from .test_gateway import request

pytestmark = pytest.mark.anyio


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
    assert not reply.reported.bill(called="m", model=reply.model, content=True).doubts


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
