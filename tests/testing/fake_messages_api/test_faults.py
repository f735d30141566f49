"""Each thing that may go wrong, as the SDK's client meets it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import anthropic
import httpx2
import pytest

from aar.testing.fake_messages_api import (
    CutShort,
    Drop,
    FakeMessagesApi,
    HttpError,
    MessagesRequest,
    OtherReply,
    ServerRules,
    Slow,
    Stall,
    StreamError,
    faults_at_requests,
    faults_by_chance,
    faults_in_order,
    refusal_reply,
    serve_app_in_thread,
)

from .conftest import Talking

pytestmark = pytest.mark.anyio

ASK: dict[str, Any] = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "Hello"}]}


async def listen(client: anthropic.AsyncAnthropic, stream: bool, seen: list[str]) -> None:
    """Ask, and note the kinds of the events that come."""
    answer = await client.messages.create(stream=stream, **ASK)
    if stream:
        async for event in answer:
            seen.append(event.type)  # noqa: PERF401 - what came before an error counts


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (413, anthropic.RequestTooLargeError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
async def test_http_errors(talking: Talking, status: int, error: type[anthropic.APIStatusError]) -> None:
    fault = HttpError(status, "for a reason", retry_after=7)
    async with talking(["yes"], faults=faults_at_requests({0: fault})) as (client, double):
        with pytest.raises(error, match="for a reason") as caught:
            await client.messages.create(**ASK)
        assert caught.value.response.headers["retry-after"] == "7"
        assert caught.value.request_id is not None
        assert (await client.messages.create(**ASK)).content[0].text == "yes"  # type: ignore[union-attr]
    assert [exchange.fault for exchange in double.requests] == ["HttpError", ""]
    limits = [name for name in caught.value.response.headers if name.startswith("anthropic-ratelimit-")]
    assert bool(limits) is (status == 429)


async def test_the_sdk_retries_its_way_through(talking: Talking) -> None:
    faults = faults_in_order([HttpError(429, retry_after=0), HttpError(529), None])
    async with talking(["yes"], faults=faults) as (client, double):
        await client.with_options(max_retries=3).messages.create(**ASK)
    assert [exchange.status for exchange in double.requests] == [429, 529, 200]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_overloaded_service(talking: Talking, stream: bool) -> None:
    async with talking(["a"], faults=faults_at_requests({0: StreamError(3)})) as (client, _):
        seen: list[str] = []
        with pytest.raises(anthropic.APIStatusError, match="Overloaded") as caught:
            await listen(client, stream, seen)
        assert caught.value.type == "overloaded_error"
        # The SDK keeps the ping to itself.
        assert seen == (["message_start", "content_block_start"] if stream else [])


@pytest.mark.parametrize("after", [None, 0, 1, 4])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_dropped_connection(talking: Talking, after: int | None, stream: bool) -> None:
    async with talking(["a", "b"], faults=faults_at_requests({0: Drop(after)})) as (client, _):
        seen: list[str] = []
        with pytest.raises((anthropic.APIConnectionError, httpx2.HTTPError)):
            await listen(client, stream, seen)
        assert len(seen) == ((after or 0) - (after == 4) if stream else 0)
        assert (await client.messages.create(**ASK)).content[0].text == "b"  # type: ignore[union-attr]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stalled_answer(talking: Talking, stream: bool) -> None:
    async with talking(["a", "b"], faults=faults_at_requests({0: Stall(2)}), timeout=0.3) as (client, _):
        with pytest.raises((anthropic.APITimeoutError, httpx2.TimeoutException)):
            await listen(client, stream, [])
        assert (await client.with_options(timeout=30).messages.create(**ASK)).stop_reason == "end_turn"


async def test_a_slow_stream_comes_whole(talking: Talking) -> None:
    async with talking(["a" * 300, "b"], faults=faults_at_requests({0: Slow(0.001), 1: Slow(0.001)})) as (client, _):
        async with client.messages.stream(**ASK) as stream:
            assert await stream.get_final_text() == "a" * 300
        assert (await client.messages.create(**ASK)).stop_reason == "end_turn"


async def test_other_answers_than_the_models(talking: Talking) -> None:
    faults = faults_at_requests({0: CutShort(2), 1: OtherReply(refusal_reply())})
    async with talking(["a" * 30, "b"], faults=faults) as (client, _):
        cut = await client.messages.create(**ASK)
        assert (cut.stop_reason, cut.content[0].text) == ("max_tokens", "a" * 8)  # type: ignore[union-attr]
        refused = await client.messages.create(**ASK)
        assert (refused.stop_reason, refused.content) == ("refusal", [])
        assert (await client.messages.create(**ASK)).content[0].text == "b"  # type: ignore[union-attr]


def test_chance_repeats_and_keeps_its_odds() -> None:
    source = faults_by_chance(3, [(0.2, HttpError(529)), (0.1, Drop())])

    def drawn() -> list[str]:
        return [type(source(MessagesRequest({}, (), (), (), number=n))).__name__ for n in range(2000)]

    first = drawn()
    assert first == drawn()
    counts = Counter(first)
    assert 320 < counts["HttpError"] < 480
    assert 140 < counts["Drop"] < 260


async def test_too_many_at_once_are_turned_away(talking: Talking) -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def play(request: MessagesRequest) -> str:
        entered.set()
        await leave.wait()
        return "late"

    async with talking(play, rules=ServerRules(at_once=1, retry_after=2.5)) as (client, _):
        first = asyncio.create_task(client.messages.create(**ASK))
        await entered.wait()
        with pytest.raises(anthropic.RateLimitError) as caught:
            await client.messages.create(**ASK)
        assert caught.value.response.headers["retry-after"] == "2.5"
        leave.set()
        assert (await first).content[0].text == "late"  # type: ignore[union-attr]
        await client.messages.create(**ASK)


def test_programs_without_an_event_loop() -> None:
    double = FakeMessagesApi(["Hi."])
    with serve_app_in_thread(double) as base_url:
        http = anthropic.DefaultHttpxClient(trust_env=False)
        with anthropic.Anthropic(base_url=base_url, api_key="none", http_client=http) as client:
            assert client.messages.create(**ASK).content[0].text == "Hi."  # type: ignore[union-attr]
    assert double.requests[0].status == 200
