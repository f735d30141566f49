"""Who gets in: rebinding, other machines, other sites."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from aar.auth.tokens import operator_token
from aar.web.listen_address import is_loopback
from aar.web.middleware import REFUSED_FILE, SECURITY_HEADERS

from .conftest import BASE, Site

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8808", "127.0.0.1.evil.example", "[::2]", "", "10.0.0.1"]
)
async def test_a_foreign_host_name_is_turned_away_on_loopback(site: Site, host: str) -> None:
    async with site.client() as client:
        for path in ("/campaigns", "/api/v1/campaigns", "/static/pages.css"):
            answer = await client.get(path, headers={"Host": host})
            assert answer.status_code == 403
            assert "four directions" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:8808", "127.0.0.1:1", "[::1]:8808", "127.5.5.5"])
async def test_this_machines_own_names_come_in(site: Site, host: str) -> None:
    async with site.client() as client:
        assert (await client.get("/campaigns", headers={"Host": host})).status_code == 200


async def test_beyond_loopback_nothing_without_the_operators_token(site: Site) -> None:
    token = operator_token(site.home)
    basic = base64.b64encode(f"me:{token}".encode()).decode()
    wrong = [{}, {"Authorization": "Bearer no"}, {"Authorization": "Basic !!"}, site.researcher("r1")]
    paths = ("/campaigns", "/api/v1/campaigns", "/static/live.js", "/api/v1/openapi.json", "/nothing")
    async with site.client(host="0.0.0.0") as client:
        for path in paths:
            for headers in wrong:
                answer = await client.get(path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Basic")
        for headers in ({"Authorization": f"Bearer {token}"}, {"Authorization": f"Basic {basic}"}):
            assert (await client.get("/campaigns", headers={**headers, "Host": "gpu-box:8808"})).status_code == 200


async def test_whoever_logs_in_first_comes_to_the_very_page_they_asked_for(site: Site) -> None:
    asked = "/campaigns/k3v9qd/posts?q=more+%26+more&kind=insight"
    async with site.client(host="0.0.0.0") as client:
        sent = await client.get(asked, headers={"Accept": "text/html"})
        field = re.search(r'name="next" value="([^"]*)"', (await client.get(sent.headers["location"])).text)
        assert field
        login = {"token": operator_token(site.home), "next": html.unescape(field[1])}
        assert (await client.post("/login", data=login)).headers["location"] == asked


async def test_the_login_page_beyond_loopback_loads_without_a_password_box(site: Site) -> None:
    async with site.client(host="0.0.0.0") as client:
        page = (await client.get("/login")).text
        assets = re.findall(r'<(?:link|script|img)[^>]*(?:href|src)="(/[^"]+)"', page)
        assert len(assets) > 3
        for address in assets:
            assert (await client.get(address)).status_code == 200, address


async def test_no_more_of_a_body_is_read_than_anything_needs(site: Site) -> None:
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 1
            yield b" " * 256 * 1024

    json_type = {"Content-Type": "application/json"}
    async with site.client() as client:
        for path in ("/api/v1/campaigns/k3v9qd/posts", "/api/v1/campaigns", "/api/v1/campaigns/k3v9qd/controls"):
            for headers in ({}, site.researcher("r1"), site.operator):
                sent = 0
                answer = await client.post(path, content=body(), headers={**json_type, **headers})
                assert (answer.status_code, answer.json()["detail"]) == (413, "the body is over 1024 KiB")
                assert sent <= 6


async def test_an_open_page_whose_login_ended_is_told_without_a_password_box(site: Site) -> None:
    asked: list[dict[str, str]] = [{"HX-Request": "true"}, {"aar-seen": "7"}, {"Accept": "text/event-stream"}]
    async with site.client(host="0.0.0.0") as client:
        for headers in asked:
            answer = await client.get("/campaigns/k3v9qd", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="aar"')


async def test_an_unchanged_file_is_not_sent_again(site: Site) -> None:
    async with site.client() as client:
        first = await client.get("/static/live.js")
        assert first.headers["cache-control"] == "private, no-cache"
        again = await client.get("/static/live.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_browsers_own_login_never_writes(site: Site) -> None:
    """A browser adds Basic by itself, also to what another site makes it send; so it must not write."""
    basic = base64.b64encode(f"me:{operator_token(site.home)}".encode()).decode()
    sent = {"kind": "result", "title": "t", "body": "b"}
    for host in ("127.0.0.1", "0.0.0.0"):
        async with site.client(host=host) as client:
            path = "/api/v1/campaigns/k3v9qd/posts"
            assert (await client.post(path, json=sent, headers={"Authorization": f"Basic {basic}"})).status_code == 401


async def test_no_other_site_may_read_answers(site: Site) -> None:
    async with site.client() as client:
        answer = await client.get("/api/v1/campaigns", headers={"Origin": "http://evil.example"})
        before = await client.options(
            "/api/v1/campaigns", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}
        )
    for each in (answer, before):
        assert not [name for name in each.headers if name.startswith("access-control")]


async def test_every_answer_carries_the_strict_policy(site: Site) -> None:
    async with site.client() as client:
        for path in ("/campaigns", "/api/v1/campaigns", "/static/live.js", "/nothing", "/api/v1/nothing"):
            headers = (await client.get(path)).headers
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("gpu-box", False)],
)
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


async def test_a_request_that_fails_inside_has_every_header_and_its_line_in_the_audit_log(site: Site) -> None:
    async def fail() -> None:
        raise RuntimeError("a secret detail")

    app = site.app()
    app.add_api_route("/api/v1/broken", fail, methods=["POST"])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=site.operator) as client:
        answer = await client.post("/api/v1/broken")
    assert (answer.status_code, answer.json()["detail"]) == (500, "see the server's log")
    assert "a secret detail" not in answer.text
    assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    [line] = [json.loads(line) for line in (site.home / REFUSED_FILE).read_text().splitlines()]
    assert (line["status"], line["path"]) == (500, "/api/v1/broken")
