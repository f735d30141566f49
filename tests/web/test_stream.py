"""The stream of events, over a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from aar.auth.tokens import viewer_token
from aar.events import CampaignPaused
from aar.store.event_log import append_event, latest_event_id
from aar.web.api import event_stream
from aar.web.listen_address import bind_listener
from aar.web.server import serve_app

from .conftest import Site
from .person import Person

pytestmark = pytest.mark.anyio
STREAM = "/api/v1/campaigns/k3v9qd/events/stream"


@asynccontextmanager
async def streaming(site: Site, query: str = "") -> AsyncIterator[httpx.Response]:
    """A stream from a real server."""
    async with (
        site.served() as address,
        httpx.AsyncClient(base_url=address, timeout=30) as client,
        client.stream("GET", STREAM + query) as answer,
    ):
        yield answer


async def frames(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    """The frames of a stream; a comment comes as ``{"": text}``."""
    frame: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if not line:
            yield frame
            frame = {}
        else:
            name, _, value = line.partition(":")
            frame[name] = value.strip()


def happen(site: Site, cause: str) -> int:
    with site.db.writing() as session:
        return append_event(session, "k3v9qd", CampaignPaused(cause=cause))


async def test_the_past_comes_first_then_what_happens(site: Site) -> None:
    with site.db.reading() as session:
        newest = latest_event_id(session, "k3v9qd")
    async with streaming(site, "?brief=true") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        seen = []
        expected = None
        async for frame in frames(answer):
            if "id" not in frame:
                continue
            seen.append(int(frame["id"]))
            if seen[-1] == newest:
                expected = await asyncio.to_thread(happen, site, "\x1b[31mlunch\nbreak")
            if seen[-1] == expected:
                break
    assert seen == sorted(set(seen))
    data = json.loads(frame["data"])
    assert frame["event"] == data["kind"] == "campaign_paused"
    assert data["line"] == "campaign paused: ␛[31mlunch break"
    assert "payload" not in data


async def test_a_broken_stream_goes_on_where_it_broke(site: Site) -> None:
    async with site.served() as address, httpx.AsyncClient(base_url=address, timeout=30) as client:
        first = await client.get(f"{STREAM}?once=true")
        ids = [int(line[4:]) for line in first.text.splitlines() if line.startswith("id: ")]
        rest = await client.get(f"{STREAM}?once=true&after=1", headers={"Last-Event-ID": str(ids[-3])})
        odd = await client.get(f"{STREAM}?once=true", headers={"Last-Event-ID": "nonsense"})
    assert [int(line[4:]) for line in rest.text.splitlines() if line.startswith("id: ")] == ids[-2:]
    assert odd.text == first.text


async def test_a_quiet_stream_shows_that_it_lives(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.05)
    with site.db.reading() as session:
        newest = latest_event_id(session, "k3v9qd")
    async with streaming(site, f"?after={newest}") as answer:
        async for frame in frames(answer):
            if "" in frame:
                break
    assert frame[""] == "still here"


async def test_watchers_share_one_poll_and_all_see_the_same(site: Site) -> None:
    with site.db.reading() as session:
        newest = latest_event_id(session, "k3v9qd")

    async def watch(client: httpx.AsyncClient, ready: asyncio.Semaphore) -> list[int]:
        async with client.stream("GET", f"{STREAM}?after={newest}&brief=true") as answer:
            ready.release()
            seen: list[int] = []
            async for frame in frames(answer):
                seen += [int(frame["id"])] if "id" in frame else []
                if len(seen) == 3:
                    return seen
        return seen

    ready = asyncio.Semaphore(0)
    async with site.served() as address, httpx.AsyncClient(base_url=address, timeout=60) as client:
        watching = [asyncio.create_task(watch(client, ready)) for _ in range(20)]
        for _ in watching:
            await ready.acquire()
        ids = [await asyncio.to_thread(happen, site, f"event {index}") for index in range(3)]
        assert await asyncio.gather(*watching) == [ids] * 20


async def test_an_open_stream_does_not_keep_the_server_from_stopping(site: Site) -> None:
    listener = bind_listener("127.0.0.1", 0)
    port = listener.getsockname()[1]
    serving = asyncio.create_task(serve_app(site.app(), listener))
    url = f"http://127.0.0.1:{port}{STREAM}"
    async with httpx.AsyncClient(timeout=30) as client, client.stream("GET", url) as answer:
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("retry:")
        serving.cancel()
        async for _ in lines:
            pass
    with pytest.raises(asyncio.CancelledError):
        await serving
    bind_listener("127.0.0.1", port).close()


@pytest.mark.parametrize("path", [STREAM, "/campaigns/k3v9qd/live"])
async def test_a_stream_ends_with_the_login_that_opened_it(site: Site, path: str) -> None:
    listener = bind_listener("127.0.0.1", 0)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    serving = asyncio.create_task(serve_app(site.app(host="0.0.0.0"), listener))
    with site.db.reading() as session:
        newest = latest_event_id(session, "k3v9qd")
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        person = Person(client)
        await person.log_in(viewer_token(site.home))
        csrf = (await client.get("/campaigns")).text.partition('name="csrf" value="')[2].partition('"')[0]
        async with client.stream("GET", path, params={"after": newest}) as answer:
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("retry:")
            assert (await client.post("/logout", data={"csrf": csrf})).status_code == 303
            happen(site, "said after the logout")
            rest = [line async for line in lines]
        assert not any("after the logout" in line for line in rest)
    serving.cancel()
    await asyncio.wait([serving])


async def test_the_stream_of_no_campaign_is_a_404(site: Site) -> None:
    async with site.client() as client:
        assert (await client.get("/api/v1/campaigns/zzz/events/stream")).status_code == 404
