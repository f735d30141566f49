"""Figures over HTTP: who may bring one, how its bytes come back, what a page makes of it."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from PIL import Image

from aar.forum.figures import MAX_FIGURE_BYTES
from aar.redteam.campaign_rows import add_campaign

from .conftest import Site

pytestmark = pytest.mark.anyio
API = "/api/v1/campaigns/k3v9qd"
PNG = {"Content-Type": "image/png"}


def image(shade: int = 0, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 10), (shade, 3, 200)).save(out, kind)
    return out.getvalue()


async def bring(client: httpx.AsyncClient, headers: dict[str, str], data: bytes) -> dict[str, Any]:
    answer = await client.post(f"{API}/figures", content=data, headers=headers | PNG)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_a_figure_is_brought_shown_and_served_as_nothing_but_an_image(site: Site) -> None:
    data = image(1, "WEBP")
    async with site.client() as client:
        made = await bring(client, site.researcher("r1"), data)
        assert (await bring(client, site.researcher("r2"), data)) == made
        digest = hashlib.sha256(data).hexdigest()
        assert (
            made | {"created_at": ""}
            == {
                "digest": digest,
                "author": "r1",
                "media_type": "image/webp",  # whatever the request called it
                "width": 20,
                "height": 10,
                "size_bytes": len(data),
                "created_at": "",
                "markdown": f"![](figure:{digest[:12]})",
            }
        )
        body = made["markdown"].replace("[]", '[a "loss" <b>]') + "\n\n![elsewhere](http://evil.example/p.png)"
        sent = {"kind": "result", "title": "A plot", "body": body}
        post = (await client.post(f"{API}/posts", json=sent, headers=site.researcher("r1"))).json()
        page = await client.get(f"/campaigns/k3v9qd/posts/{post['id']}")
        src = f"{API}/figures/{digest}"
        served = await client.get(src)
        short = await client.get(src[: -64 + 12])
    assert f'<img src="{src}" alt="a &#34;loss&#34; &lt;b&gt;" loading="lazy" width="20" height="10">' in page.text
    assert "<figcaption>a &#34;loss&#34; &lt;b&gt;</figcaption>" in page.text
    assert "[image: elsewhere]" in page.text
    assert "img-src 'self';" in page.headers["content-security-policy"]
    assert served.content == short.content == data
    told = {name: served.headers[name] for name in ("content-type", "x-content-type-options", "content-disposition")}
    assert told == {
        "content-type": "image/webp",
        "x-content-type-options": "nosniff",
        "content-disposition": f'inline; filename="{digest[:12]}.webp"',
    }
    assert served.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert served.headers["cache-control"] == "private, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "not a PNG, JPEG, GIF or WebP"),
        (b"", "not a PNG, JPEG, GIF or WebP"),
        (image() + b"<script>alert(1)</script>", "25 bytes follow the PNG image"),
        (image()[:-3], "it is an incomplete image"),
        (image() + bytes(MAX_FIGURE_BYTES), "at most 512 KiB"),
    ],
)
async def test_what_is_no_small_image_is_refused(site: Site, data: bytes, told: str) -> None:
    async with site.client() as client:
        answer = await client.post(f"{API}/figures", content=data, headers=site.researcher("r1") | PNG)
        after = await client.get(f"{API}/figures/{hashlib.sha256(data).hexdigest()}")
    assert (answer.status_code, after.status_code) == (400, 404)
    assert told in answer.json()["detail"]
    assert answer.json()["remedy"]


async def test_no_more_is_read_than_a_figure_may_have(site: Site) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 4 * MAX_FIGURE_BYTES:
            read += 65536
            yield bytes(65536)

    async with site.client() as client:
        answer = await client.post(f"{API}/figures", content=endless(), headers=site.researcher("r1") | PNG)
    assert answer.status_code == 400
    assert "512 KiB" in answer.json()["detail"]


async def test_only_those_who_may_post_bring_figures_and_to_their_own_campaign(site: Site) -> None:
    with site.db.writing() as session:
        add_campaign(session, "other2", 1)
    data = image(7)
    async with site.client() as client:
        for path, headers, status in (
            (API, {}, 401),
            (API, {"Authorization": "Bearer aar_wrong"}, 401),
            ("/api/v1/campaigns/other2", site.researcher("r1"), 403),
            ("/api/v1/campaigns/nobody", site.researcher("r1"), 404),
            (API, site.researcher("r1") | {"Content-Type": "text/html"}, 400),
        ):
            answer = await client.post(f"{path}/figures", content=data, headers=PNG | headers)
            assert answer.status_code == status, answer.text
        as_ana = await client.post(f"{API}/figures?author=ana", content=data, headers=site.operator | PNG)
        elsewhere = await client.get(f"/api/v1/campaigns/other2/figures/{as_ana.json()['digest']}")
        shown = {"kind": "result", "title": "t", "body": f"![a](figure:{as_ana.json()['digest']})"}
        borrowed = await client.post("/api/v1/campaigns/other2/posts", json=shown, headers=site.operator)
        for digits in ("0123456789ab", "0" * 64):
            assert (await client.get(f"{API}/figures/{digits}")).status_code == 404
        for digits in ("0123", "..%2f..%2fetc", "0123456789AB", "0" * 65):
            assert (await client.get(f"{API}/figures/{digits}")).status_code in (404, 422)
    assert as_ana.json()["author"] == "human:ana"
    assert elsewhere.status_code == borrowed.status_code == 404


async def test_beyond_loopback_a_figure_needs_a_login_like_any_page(site: Site) -> None:
    async with site.client(host="0.0.0.0") as client:
        made = await bring(client, site.operator, image(9))
        path = f"{API}/figures/{made['digest']}"
        assert (await client.get(path)).status_code == 401
        assert (await client.get(path, headers=site.operator)).status_code == 200


async def test_a_thread_lists_what_it_shows(site: Site) -> None:
    async with site.client() as client:
        one = await bring(client, site.researcher("r1"), image(11))
        two = await bring(client, site.researcher("r2"), image(12))
        sent = {"kind": "result", "title": "Two plots", "body": one["markdown"]}
        post = (await client.post(f"{API}/posts", json=sent, headers=site.researcher("r1"))).json()
        comment = {"body": f"{two['markdown']} `![](figure:0123456789ab)` {one['markdown']}"}
        where = f"{API}/posts/{post['id']}"
        await client.post(f"{where}/comments", json=comment, headers=site.researcher("r2"))
        assert (await client.get(where)).json()["figures"] == [one, two]


async def test_forms_show_figures_and_give_the_words_back_where_there_is_none(site: Site) -> None:
    async with site.client() as client:
        made = await bring(client, site.operator, image(21))
        await client.post(
            "/login", data={"token": site.operator["Authorization"].removeprefix("Bearer "), "name": "ana"}
        )
        page = (await client.get("/campaigns/k3v9qd/posts/1")).text
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page[page.index("<main") :]))
        body = f"Mine:\n\n{made['markdown']}"

        async def send(path: str, text: str, action: str, **fields: str) -> Any:
            return await client.post(path, data=hidden | {"body": text, "action": action} | fields)

        looked = await send("/campaigns/k3v9qd/posts/1", body, "look")
        title = {"kind": "result", "title": "Plots", "submission": ""}
        refused = [
            await send("/campaigns/k3v9qd/posts/1", "![lost](figure:0123456789ab)", "comment"),
            await send("/campaigns/k3v9qd/posts", "![lost](figure:0123456789ab)", "post", **title),
        ]
        written = await send("/campaigns/k3v9qd/posts/1", body, "comment")
        after = (await client.get("/campaigns/k3v9qd/posts/1")).text
    shown = f'<img src="{API}/figures/{made["digest"]}"'
    assert looked.status_code == 200
    assert shown in looked.text
    for answer in refused:
        assert answer.status_code == 422
        assert "No figure 0123456789ab" in answer.text
        assert "![lost](figure:0123456789ab)" in answer.text
    assert written.status_code == 303
    assert shown in after
