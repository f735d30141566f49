"""Who may do what: every route and every role, and nothing that another site or a guess could make happen."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from fastapi import routing

from aar.auth.sessions import SESSION_SECONDS, SessionStore
from aar.auth.tokens import operator_token, viewer_token
from aar.errors import TooMany
from aar.forum.news import news_since
from aar.web.rate_limit import RateLimit, RateLimits, TokenBuckets

from .conftest import Site

pytestmark = pytest.mark.anyio
API = "/api/v1/campaigns/k3v9qd"
PLACES = {
    "campaign_id": "k3v9qd",
    "name": "r1",
    "post_id": "1",
    "comment_id": "1",
    "number": "14",
    "claim_id": "1",
    "digest": "0" * 64,
    "path": "x",
}
ANYBODY = {"/login", "/login/once"}
RESEARCHERS = re.compile(r"/(posts|claims|similar|figures)\b")
"""What researchers may write: on the forum."""


def _routes(site: Site, reading: bool) -> list[tuple[str, str]]:
    walk = getattr(routing, "iter_route_contexts", iter)  # routers lie nested since FastAPI 0.14x, flat before
    found = []
    for route in walk(site.app().routes):
        for method in getattr(route, "methods", None) or ():
            path = re.sub(r"\{(\w+)(:\w+)?\}", lambda match: PLACES[match[1]], route.path)
            streams = path.endswith(("/stream", "/live")) or path.startswith("/mcp")
            if (method in ("GET", "HEAD")) == reading and not streams:
                found.append((method, path))
    return found


def _generous(site: Site, **options: Any) -> Any:
    plenty = RateLimit(100_000, 1000)
    return site.client(rates=RateLimits(plenty, plenty, plenty, plenty, plenty), **options)


async def _login(client: httpx.AsyncClient, token: str, name: str = "ana") -> str:
    """Log in; returns the token of this login's forms."""
    answer = await client.post("/login", data={"token": token, "name": name})
    assert answer.status_code == 303, answer.text
    page = await client.get("/campaigns")
    return str(re.search(r'name="csrf" value="([\w-]+)"', page.text)[1])  # type: ignore[index]


async def test_every_write_is_refused_to_whoever_may_not(site: Site) -> None:
    """Each route that is no GET, for nobody, a viewer, a forged token, a researcher, and a login without its form."""
    writes = [(method, path) for method, path in _routes(site, reading=False) if path not in ANYBODY]
    assert len(writes) > 15
    viewer = {"Authorization": f"Bearer {viewer_token(site.home)}"}
    async with _generous(site) as client, _generous(site) as browser:
        await _login(browser, operator_token(site.home))
        for method, path in writes:
            form = not path.startswith("/api/")
            for who, headers in (
                ("nobody", {}),
                ("forged", {"Authorization": "Bearer aar_wrong"}),
                ("viewer", viewer),
                ("researcher", site.researcher("r1")),
            ):
                answer = await client.request(method, path, headers=headers, **({"data": {}} if form else {"json": {}}))
                if who == "researcher" and RESEARCHERS.search(path) and not form:
                    assert answer.status_code not in (401, 500), (path, answer.text)
                else:
                    assert answer.status_code in (401, 403), (who, method, path, answer.status_code)
            for csrf in ("", "0" * 64):
                sent = {"data": {"csrf": csrf}} if form else {"json": {}, "headers": {"X-CSRF-Token": csrf}}
                answer = await browser.request(method, path, **sent)
                assert answer.status_code in (400, 403), (method, path, answer.status_code)
    assert "controls" in str(writes)


async def test_beyond_loopback_every_page_and_endpoint_asks_who_it_is(site: Site) -> None:
    operator, viewer = operator_token(site.home), viewer_token(site.home)
    async with _generous(site, host="0.0.0.0") as client:
        for method, path in _routes(site, reading=True):
            if path in ANYBODY:
                continue
            assert (await client.request(method, path)).status_code == 401, path
            assert (await client.request(method, path, headers=site.researcher("r1"))).status_code == 401, path
            for token in (operator, viewer):
                headers = {"Authorization": f"Bearer {token}"}
                assert (await client.request(method, path, headers=headers)).status_code not in (401, 403, 500), path
        shown = await client.get("/campaigns/k3v9qd?x=1", headers={"Accept": "text/html"})
        assert (shown.status_code, shown.headers["location"]) == (303, "/login?next=/campaigns/k3v9qd%3Fx%3D1")
        assert (await client.get("/login")).status_code == 200
        await _login(client, viewer, "vi")
        assert (await client.get("/campaigns/k3v9qd")).status_code == 200
        assert 'action="/campaigns/k3v9qd/steer"' not in (await client.get("/campaigns/k3v9qd")).text


async def test_no_link_can_act(site: Site) -> None:
    """Whatever address a text leads to, opening it changes nothing: what acts takes no GET."""
    readable = {path for _, path in _routes(site, reading=True)}
    async with _generous(site) as client:
        await _login(client, operator_token(site.home))
        before = len((await client.get(f"{API}/events?limit=200")).json()["items"])
        for _, path in _routes(site, reading=False):
            answer = await client.get(f"{path}?command=stop&action=confirmation&words=x")
            assert answer.status_code == (200 if path in readable else 405), (path, answer.status_code)
        assert len((await client.get(f"{API}/events?limit=200")).json()["items"]) == before
        state = (await client.get(API)).json()["state"]
    assert state == "running"


async def test_words_of_people_and_agents_are_shown_inert(site: Site) -> None:
    """A message, a direction and a name come back escaped and without control characters."""
    evil = '<script>alert(1)</script> <form action="/logout"> \x1b[2J \u202e [x](javascript:alert(1))'
    async with site.client() as client:
        csrf = await _login(client, operator_token(site.home))
        where = "/campaigns/k3v9qd/researchers/r3/steer"
        for command in ("message", "redirect"):
            answer = await client.post(where, data={"csrf": csrf, "command": command, "words": evil})
            assert answer.status_code == 303
        for path in ("/campaigns/k3v9qd", "/campaigns/k3v9qd/researchers/r3"):
            html = (await client.get(path)).text
            assert "<script>alert" not in html
            assert '<form action="/logout">' not in html
            assert 'javascript:alert(1)"' not in html
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", html)
    with site.db.reading() as session:
        said = news_since(session, "k3v9qd", "k3v9qd-r3", 0).human_messages
    assert "\x1b" not in "".join(said)


async def test_a_login_acts_through_forms_and_the_api_under_its_name(site: Site) -> None:
    async with site.client() as client:
        csrf = await _login(client, operator_token(site.home), "ana")
        answer = await client.post(
            "/campaigns/k3v9qd/researchers/r1/steer", data={"csrf": csrf, "command": "message", "words": "Hello."}
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/campaigns/k3v9qd/researchers/r1")
        sent = {"command": "message", "researcher": "r1", "argument": "Again."}
        told = await client.post(f"{API}/controls", json=sent, headers={"X-CSRF-Token": csrf})
        assert (told.status_code, told.json()["heard"]) == (202, False)
        events = (await client.get(f"{API}/events?kind=control_requested")).json()["items"]
        assert [(each["payload"]["by"], each["payload"]["argument"]) for each in events[-2:]] == [
            ("human:ana", "Hello."),
            ("human:ana", "Again."),
        ]
        await client.post("/logout", data={"csrf": csrf})
        assert (await client.post(f"{API}/controls", json=sent, headers={"X-CSRF-Token": csrf})).status_code == 401


async def test_the_cookie_cannot_be_read_by_scripts_nor_sent_by_other_sites(site: Site) -> None:
    fields = {"token": operator_token(site.home), "next": "//evil.example/"}
    for scheme, secure in (("http", False), ("https", True)):
        async with site.client() as client:
            client.base_url = f"{scheme}://127.0.0.1"
            answer = await client.post("/login", data=fields)
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert ("Secure" in cookie) is secure
        assert f"Max-Age={SESSION_SECONDS}" in cookie
        assert fields["token"] not in cookie
        assert answer.headers["location"] == "/campaigns"


@pytest.mark.parametrize(
    "where",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nSet-Cookie: x=1"],
)
async def test_a_login_leads_nowhere_else(site: Site, where: str) -> None:
    async with site.client() as client:
        answer = await client.post("/login", data={"token": operator_token(site.home), "next": where})
    assert answer.headers["location"] == "/campaigns"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 303),
        ({"Origin": "http://127.0.0.1"}, 303),
    ],
)
async def test_what_another_site_sends_is_turned_away(site: Site, headers: dict[str, str], status: int) -> None:
    async with site.client() as client:
        answer = await client.post("/login", data={"token": operator_token(site.home)}, headers=headers)
    assert answer.status_code == status


async def test_guessing_and_flooding_are_slowed_down_and_say_when_to_come_back(site: Site) -> None:
    async with site.client() as client:
        codes = [(await client.post("/login", data={"token": "aar_guess"})).status_code for _ in range(12)]
        assert codes == [401] * 10 + [429] * 2
        late = await client.post("/login", data={"token": "aar_guess"})
        assert 1 <= int(late.headers["retry-after"]) <= 7
        right = await client.post("/login", data={"token": operator_token(site.home)})
        assert right.status_code == 303
    async with site.client(rates=RateLimits(credential=RateLimit(3, 0.001), refused=RateLimit(2, 0.001))) as client:
        body = {"kind": "result", "title": "t", "body": "b"}
        posts = [await client.post(f"{API}/posts", json=body, headers=site.researcher("r1")) for _ in range(4)]
        assert [answer.status_code for answer in posts] == [201, 201, 201, 429]
        assert posts[-1].headers["content-type"] == "application/problem+json"
        other = await client.post(f"{API}/posts", json={**body, "title": "u"}, headers=site.researcher("r2"))
        assert other.status_code == 201
        wrong = {"Authorization": "Bearer aar_guess"}
        guesses = [(await client.post(f"{API}/posts", json=body, headers=wrong)).status_code for _ in range(3)]
        assert guesses == [401, 401, 429]
        assert (await client.get("/campaigns")).status_code == 200


async def test_the_audit_log_names_who_and_holds_no_secret(site: Site) -> None:
    token = operator_token(site.home)
    async with site.client() as client:
        await client.post("/login", data={"token": "aar_wrong"})
        csrf = await _login(client, token, "ana")
        await client.post(f"{API}/controls", json={"command": "pause"}, headers=site.researcher("r1"))
        await client.post(
            "/campaigns/k3v9qd/steer?t=" + token, data={"csrf": csrf, "command": "message", "words": "sesame"}
        )
        cookie = client.cookies["aar_session"]
    site.db.close()
    accepted, refused = ((site.home / name).read_text() for name in ("audit.log", "audit-refused.log"))
    text = accepted + refused
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["outcome"], line["path"], line["who"]) for line in lines] == [
        ("accepted", "/login", "operator ana"),
        ("accepted", "/campaigns/k3v9qd/steer", "operator ana"),
        ("refused", "/login", ""),
        ("refused", f"{API}/controls", "researcher k3v9qd-r1"),
    ]
    for secret in (token, cookie, csrf, "sesame", site.researcher("r1")["Authorization"].removeprefix("Bearer ")):
        assert secret not in text
    for name in ("audit.log", "audit-refused.log"):
        assert (site.home / name).stat().st_mode & 0o077 == 0


async def test_a_forged_changed_ended_or_old_cookie_is_nobody() -> None:
    now = [1000.0]
    sessions = SessionStore({"operator": "secret", "viewer": "other"}, lambda: now[0])
    cookie = sessions.create_session("viewer", "vi")
    login = sessions.find_login(cookie)
    assert login is not None
    assert (login.role, login.name, login.is_operator) == ("viewer", "vi", False)
    packed, _, signature = cookie.rpartition(".")
    raised = SessionStore({"operator": "guess", "viewer": "guess"}).create_session("operator", "vi").rpartition(".")[0]
    for bad in ("", ".", packed, f"{packed}.", f"{packed}.é", f"{raised}.{signature}", f"!!.{signature}", "a" * 9999):
        assert sessions.find_login(bad) is None
    assert SessionStore({"operator": "new", "viewer": "new"}).find_login(cookie) is None
    assert sessions.is_csrf(login, sessions.csrf(login))
    other = sessions.find_login(sessions.create_session("viewer", "vi"))
    assert other is not None
    assert not sessions.is_csrf(login, sessions.csrf(other))
    now[0] += SESSION_SECONDS
    assert sessions.find_login(cookie) is None
    now[0] -= SESSION_SECONDS
    sessions.end_session(login)
    assert sessions.find_login(cookie) is None


async def test_buckets_refill_with_time_and_forget_the_oldest() -> None:
    now = [0.0]
    buckets = TokenBuckets(lambda: now[0])
    rate = RateLimit(2, 0.5)
    buckets.take("x", "a", rate)
    buckets.take("x", "a", rate)
    with pytest.raises(TooMany) as caught:
        buckets.take("x", "a", rate)
    assert caught.value.seconds == 3
    buckets.take("x", "b", rate)
    now[0] += 2
    buckets.take("x", "a", rate)
    with pytest.raises(TooMany):
        buckets.check("x", "a", rate)
