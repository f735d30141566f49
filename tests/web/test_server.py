"""Taking an address before anything starts, and leaving signals to whom they belong."""

from __future__ import annotations

import asyncio
import signal
import socket

import httpx
import pytest

from aar.errors import PortTaken, UsageError
from aar.web.listen_address import bind_listener, page_address
from aar.web.server import access_notice, serve_app

from .conftest import Site


def test_a_taken_port_is_told_before_anything_starts() -> None:
    with bind_listener("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} of 127.0.0.1 is in use") as caught:
            bind_listener("127.0.0.1", port)
        assert "--port" in caught.value.remedy


def test_the_next_free_port_will_do_where_that_is_asked() -> None:
    with bind_listener("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind_listener("127.0.0.1", port, next_free=True) as second:
            assert port < second.getsockname()[1] <= port + 20


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UsageError, match=r"cannot listen on 192\.0\.2\.1"):
        bind_listener("192.0.2.1", 0)
    with pytest.raises(UsageError, match="cannot listen on no-such-host"):
        bind_listener("no-such-host.invalid", 0)


@pytest.mark.anyio
async def test_accepted_connections_send_at_once() -> None:
    delays: list[int] = []

    def accepted(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        delays.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with bind_listener("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        async with await asyncio.start_server(accepted, sock=listener):
            reader, writer = await asyncio.open_connection(*address)
            assert await reader.read() == b""
            writer.close()
    assert delays == [1]


def test_the_address_is_one_to_open() -> None:
    with bind_listener("127.0.0.1", 0) as listener:
        assert page_address(listener, "127.0.0.1") == f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert page_address(listener, "::1").startswith("http://[::1]:")


def test_the_notice_says_what_a_reader_needs() -> None:
    assert "anybody may read the data that researchers see" in access_notice("127.0.0.1", "/home/x/operator-token")
    assert "every request needs the token" in access_notice("0.0.0.0", "/home/x/operator-token")


@pytest.mark.anyio
async def test_inside_a_campaign_signals_stay_the_controllers(site: Site) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with site.served() as address, httpx.AsyncClient() as client:
        assert (await client.get(f"{address}/campaigns")).status_code == 200
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.anyio
async def test_by_itself_the_server_stops_on_a_signal(site: Site) -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(True))
    try:
        listener = bind_listener("127.0.0.1", 0)
        serving = asyncio.create_task(serve_app(site.app(), listener, handle_signals=True))
        async with httpx.AsyncClient() as client:
            address = page_address(listener, "127.0.0.1")
            assert (await client.get(f"{address}/campaigns")).status_code == 200
        signal.raise_signal(signal.SIGTERM)
        await serving
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [True]
