"""Connections that say nothing, or not all of it: closed after a while, and never in the way of those that ask."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from aar.web import middleware, server
from aar.web.api import event_stream
from aar.web.listen_address import bind_listener
from aar.web.server import AcceptErrorHandler, ConnectionLimiter, serve_app

from .conftest import Site

pytestmark = pytest.mark.anyio
HALF = b"GET /campaigns HTTP/1.1\r\nHost: 127.0.0.1\r\n"
WHOLE = HALF + b"\r\n"


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_POLL_SECONDS", 0.05)


@asynccontextmanager
async def served(site: Site, bounds: ConnectionLimiter) -> AsyncIterator[int]:
    listener = bind_listener("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    task = asyncio.create_task(serve_app(site.app(), listener, connections=bounds))
    try:
        yield port
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _closed(reader: asyncio.StreamReader) -> bool:
    """Wait until the server closes; False where it does not within half a minute."""
    try:
        async with asyncio.timeout(30):
            while await reader.read(65536):
                pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


async def _get(port: int) -> int:
    async with httpx.AsyncClient(timeout=30) as client:
        return (await client.get(f"http://127.0.0.1:{port}/campaigns")).status_code


async def test_many_that_say_half_a_request_make_place_for_those_that_ask(site: Site) -> None:
    bounds = ConnectionLimiter(most=40)
    async with served(site, bounds) as port:
        half = []
        for _ in range(200):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HALF)
            half.append((reader, writer))
        assert [await _get(port) for _ in range(5)] == [200] * 5
        assert 0 < len(bounds) <= 40
        assert await _closed(half[0][0])  # the oldest went first
        for _, writer in half:
            writer.close()
    assert len(bounds) == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        HALF,
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nname=",
        b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nname=\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "a chunk"],
)
async def test_what_is_not_whole_in_time_is_closed(site: Site, sent: bytes) -> None:
    async with served(site, ConnectionLimiter(head_seconds=0.2, body_seconds=0.2)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        assert await _closed(reader)
        writer.close()


async def test_a_kept_connection_that_goes_on_with_half_a_request_is_closed(site: Site) -> None:
    for more in (HALF, b"\r\n"):
        async with served(site, ConnectionLimiter(head_seconds=0.2)) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(WHOLE)
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            writer.write(more)
            assert await _closed(reader)
            writer.close()


async def test_a_request_that_is_whole_may_take_its_time(site: Site) -> None:
    async with served(site, ConnectionLimiter(head_seconds=0.1, body_seconds=0.1)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /api/v1/campaigns/k3v9qd/events/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"200 OK" in head, head
        except BaseException:
            writer.close()
            raise
        for _ in range(3):  # the stream's own news, long after a head or a body had to be whole
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    assert await reader.read(1024)
        assert not reader.at_eof()
        writer.close()


class Peer:
    def __init__(self, address: str) -> None:
        self.address = address
        self.dropped = False

    def drop(self) -> None:
        self.dropped = True


async def test_one_machine_cannot_take_the_place_of_others() -> None:
    bounds = ConnectionLimiter(most=100, by_address=3)
    first = [Peer("192.0.2.1") for _ in range(5)]
    for each in first:
        bounds.opened(each)
    assert [each.dropped for each in first] == [True, True, False, False, False]
    for each in first[2:]:
        bounds.expect(each, "")  # each of them asked
    late, other = Peer("192.0.2.1"), Peer("192.0.2.2")
    bounds.opened(late)
    bounds.opened(other)
    assert (late.dropped, other.dropped) == (True, False)
    proxied = [Peer("127.0.0.1") for _ in range(20)]
    for each in proxied:
        bounds.opened(each)
    assert not any(each.dropped for each in proxied)
    for each in [*first, *proxied, other]:
        bounds.closed(each)
    assert len(bounds) == 0


async def test_a_full_house_turns_newcomers_away() -> None:
    bounds = ConnectionLimiter(most=2)
    inside = [Peer("127.0.0.1"), Peer("127.0.0.1")]
    for each in inside:
        bounds.opened(each)
        bounds.expect(each, "")
    late = Peer("127.0.0.1")
    bounds.opened(late)
    assert late.dropped
    assert not any(each.dropped for each in inside)


async def test_bodies_that_come_slowly_make_place_after_heads_do() -> None:
    bounds = ConnectionLimiter(most=3)
    slow, half, busy = (Peer("127.0.0.1") for _ in range(3))
    for each in (slow, half, busy):
        bounds.opened(each)
    bounds.expect(slow, "body")
    bounds.expect(busy, "")
    late = [Peer("127.0.0.1") for _ in range(2)]
    for each, expected in zip(late, ([False, True, False], [True, True, False]), strict=True):
        bounds.opened(each)
        bounds.expect(each, "")
        assert not each.dropped
        assert [inside.dropped for inside in (slow, half, busy)] == expected
    for each in (busy, *late):
        bounds.closed(each)
    assert len(bounds) == 0


async def test_many_that_send_half_a_body_make_place_for_those_that_ask(site: Site) -> None:
    begun = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nname="
    async with served(site, ConnectionLimiter(most=40)) as port:
        half = []
        for _ in range(80):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(begun)
            half.append((reader, writer))
        assert [await _get(port) for _ in range(5)] == [200] * 5
        for _, writer in half:
            writer.close()


async def test_one_researcher_does_not_fill_the_house_with_streams(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "_MOST_UNDER_WAY", 3)
    monkeypatch.setattr(event_stream, "_MOST_UNKNOWN", 3)
    path = "/api/v1/campaigns/k3v9qd/events/stream"
    async with served(site, ConnectionLimiter()) as port:
        for who in (f"Authorization: {site.researcher('r1')['Authorization']}\r\n", ""):
            opened = []
            for status in (200, 200, 200, 429):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{who}\r\n".encode())
                opened.append(writer)
                assert f" {status} ".encode() in await reader.readuntil(b"\r\n")
                if status == 200:  # its first news: it counts from there on
                    await reader.readuntil(b"retry: 2000")
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                for headers in (site.operator, site.researcher("r2")):
                    assert (await client.get("/api/v1/campaigns/k3v9qd/leaderboard", headers=headers)).is_success
            for writer in opened:
                writer.close()


async def test_a_lack_of_descriptors_is_told_once_and_not_at_every_try(caplog: pytest.LogCaptureFixture) -> None:
    handler, loop = AcceptErrorHandler(), asyncio.get_running_loop()
    for _ in range(1000):
        handler(loop, {"message": "socket.accept() out of system resource", "exception": OSError(24, "no files")})
    assert _told(caplog) == 1
    handler(loop, {"message": "something else", "exception": RuntimeError("seen")})
    assert _told(caplog) == 2


def _told(caplog: pytest.LogCaptureFixture) -> int:
    return sum(record.levelno >= logging.WARNING for record in caplog.records)
