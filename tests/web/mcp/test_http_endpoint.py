"""Who comes in over HTTP: rebinding, other origins, other machines, other methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from aar.auth.tokens import operator_token
from aar.campaign.steering import revoke_token
from aar.errors import SetupError
from aar.web.mcp import require_sdk
from aar.web.mcp.http_endpoint import allowed_hosts

from .conftest import OTHER, TOY, House, ask, connected

pytestmark = pytest.mark.anyio
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


async def test_a_foreign_host_or_origin_is_turned_away(house: House) -> None:
    async with house.served() as address, httpx.AsyncClient(headers=ACCEPT | house.watching) as http:
        assert (await http.post(f"{address}/mcp", json=HELLO)).status_code == 200
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            answer = await http.post(f"{address}/mcp", json=HELLO, headers=headers)
            assert answer.status_code == 403, headers
        own = await http.post(f"{address}/mcp", json=HELLO, headers={"Origin": address})
        assert own.status_code == 200


async def test_nobody_looks_on_without_a_token_while_a_guest_is_invited(house: House) -> None:
    async with house.served() as address, httpx.AsyncClient(headers=ACCEPT) as http:
        assert (await http.post(f"{address}/mcp", json=HELLO)).status_code == 401
        with house.db.writing() as session:
            revoke_token(session, TOY, "alice")
            revoke_token(session, OTHER, "bob")
        assert (await http.post(f"{address}/mcp", json=HELLO)).status_code == 200


async def test_beyond_loopback_a_token_is_needed_and_the_host_must_be_this_machines(house: House) -> None:
    async with house.served("0.0.0.0") as address, httpx.AsyncClient(headers=ACCEPT) as http:

        async def status(**headers: str) -> int:
            return (await http.post(f"{address}/mcp", json=HELLO, headers=headers)).status_code

        alice = f"Bearer {house.alice}"
        assert await status() == 401
        assert await status(Authorization="Bearer nobody") == 401
        assert await status(Authorization="Basic YTpi") == 401
        assert await status(Authorization=alice) == 200
        assert await status(Authorization=f"Bearer {operator_token(house.home)}") == 200
        assert await status(Authorization=alice, Host="evil.example") == 421
        # a researcher's token opens nothing else there
        assert (await http.get(f"{address}/campaigns", headers={"Authorization": alice})).status_code == 401
        assert (await http.get(f"{address}/mcpx", headers={"Authorization": alice})).status_code == 401
        async with connected(f"{address}/mcp", house.alice) as client:
            assert (await ask(client, "budget"))["campaign"]["state"] == "running"


async def test_there_is_no_stream_to_open_and_no_session_to_end(house: House) -> None:
    async with house.served() as address, httpx.AsyncClient(headers=house.watching) as http:
        for method in ("GET", "DELETE", "PUT"):
            answer = await http.request(method, f"{address}/mcp")
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert (await http.post(f"{address}/mcp", content=b"{", headers=ACCEPT)).status_code == 400
        too_long = b'{"x": "' + b"x" * (5 << 20) + b'"}'
        assert (await http.post(f"{address}/mcp", content=too_long, headers=ACCEPT)).status_code == 413


async def test_a_client_goes_on_after_the_server_was_replaced(house: House) -> None:
    """No session: what one server told a client holds at the next."""
    for _ in range(2):
        async with house.served() as address, connected(f"{address}/mcp", house.viewer, "legacy") as client:
            assert (await ask(client, "forum_list"))["posts"]


async def test_a_start_that_fails_is_told_and_tried_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    run, failures = StreamableHTTPSessionManager.run, iter(["raises", "hangs"])

    @asynccontextmanager
    async def fails_at_first(manager: Any) -> AsyncIterator[None]:
        match next(failures, ""):
            case "raises":
                raise RuntimeError("no thread can be started")
            case "hangs":
                await asyncio.Event().wait()
        async with run(manager):
            yield

    monkeypatch.setattr(StreamableHTTPSessionManager, "run", fails_at_first)
    monkeypatch.setattr("aar.web.mcp.http_endpoint._START_SECONDS", 0.5)
    async with house.served() as address, httpx.AsyncClient(headers=ACCEPT | house.watching, timeout=20) as http:
        for _ in range(2):
            answer = await http.post(f"{address}/mcp", json=HELLO)
            assert answer.status_code == 503
            assert "the MCP server did not start" in answer.json()["error"]["message"]
        both = await asyncio.gather(*(http.post(f"{address}/mcp", json=HELLO) for _ in range(2)))
        assert [each.status_code for each in both] == [200, 200]


def test_allowed_hosts_follow_the_address() -> None:
    assert allowed_hosts("127.0.0.1") == ["127.0.0.1", "localhost", "[::1]"]
    assert allowed_hosts("gpu-box") == ["127.0.0.1", "localhost", "[::1]", "gpu-box"]
    assert allowed_hosts("fd00::1")[-1] == "[fd00::1]"
    assert "evil.example" not in allowed_hosts("0.0.0.0")
    assert set(allowed_hosts("0.0.0.0")) > {"localhost"}


async def test_without_the_sdk_all_else_works(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aar.web.mcp.find_spec", lambda name: None)
    async with house.served() as address, httpx.AsyncClient(headers=house.watching) as http:
        assert (await http.post(f"{address}/mcp", json=HELLO)).status_code == 404
        assert (await http.get(f"{address}/campaigns")).status_code == 200
    with pytest.raises(SetupError, match="the MCP SDK is not installed"):
        require_sdk()
