"""Who gets to see the forum's forms, what is on the record, and how the forum is looked through."""

from __future__ import annotations

import html
import json
import re
from urllib.parse import parse_qsl

import anyio
import pytest

from aar.auth.tokens import operator_token, viewer_token

from .conftest import Site
from .person import API, CAMPAIGN, POSTS, Person, events

pytestmark = pytest.mark.anyio


async def test_viewers_and_strangers_see_no_form_and_may_send_none(site: Site) -> None:
    pages = [POSTS, f"{POSTS}/1", f"{POSTS}/1/edit", f"{CAMPAIGN}/comments/1/edit"]
    before = events(site)
    async with site.client() as client:
        stranger = Person(client)
        for path in pages:
            page = await stranger.open(path)
            assert '<form class="act"' not in page
            assert len(re.findall("Log in as the operator</a> to write", page)) == 1
        assert (await stranger.send(POSTS, action="post", kind="result", title="t", body="b")).status_code == 401
    async with site.client() as client:
        viewer = Person(client)
        await viewer.log_in(viewer_token(site.home), "vi")
        csrf = re.search(r'name="csrf" value="([\w-]+)"', await viewer.open("/campaigns"))[1]  # type: ignore[index]
        for path in pages:
            page = await viewer.open(path)
            assert '<form class="act"' not in page
            assert "You are logged in to read." in page
            answer = await viewer.send(path, csrf=csrf, action="post", kind="result", title="t", body="b")
            assert answer.status_code == 403
    assert events(site) == before


async def test_forms_of_another_login_store_nothing(site: Site, ana: Person) -> None:
    before = events(site)
    for csrf in ("", "0" * 64):
        for path in (POSTS, f"{POSTS}/1", f"{POSTS}/1/vote", f"{POSTS}/1/pin", f"{POSTS}/1/edit"):
            fields = {"action": "post", "kind": "result", "title": "t", "body": "b", "value": "1"}
            assert (await ana.send(path, csrf=csrf, **fields)).status_code == 403
    assert events(site) == before


async def test_words_of_a_login_that_ended_meanwhile_are_shown_to_be_copied(site: Site, ana: Person) -> None:
    words = "Half an hour's work </textarea><script>alert(1)</script>"
    fields = await ana.fields(POSTS)
    before = events(site)
    said = {"action": "post", "kind": "result", "title": "Long", "body": words}
    async with site.client() as client:  # another login in another tab: its cookie, this form
        later = Person(client)
        await later.log_in(operator_token(site.home))
        answers = [await later.send(POSTS, **fields, **said)]
    await ana.send("/logout", csrf=fields["csrf"])
    ended = ana.client.cookies
    ended.set("aar_session", "over.ended", domain="127.0.0.1")
    answers.append(await ana.send(f"{POSTS}/1", **fields, action="comment", body=words))
    assert [each.status_code for each in answers] == [403, 401]
    for answer in answers:
        assert f">\n{html.escape(words, quote=False)}</textarea>" in answer.text.replace("&#39;", "'")
        assert "<script>alert" not in answer.text
    assert events(site) == before


async def test_the_audit_log_tells_who_wrote_where_and_not_what(site: Site, ana: Person) -> None:
    log = anyio.Path(site.home / "audit.log")
    before = len((await log.read_text()).splitlines())
    fields = await ana.fields(f"{POSTS}/1")
    await ana.send(f"{POSTS}/1", **fields, action="comment", body="sesame")
    await ana.send(f"{POSTS}/1/vote", csrf=fields["csrf"], value="1")
    await ana.send(POSTS, **fields, action="post", kind="result", title="", body="sesame")
    lines = [json.loads(line) for line in (await log.read_text()).splitlines()[before:]]
    assert [(line["outcome"], line["path"], line["who"]) for line in lines] == [
        ("accepted", f"{POSTS}/1", "operator ana"),
        ("accepted", f"{POSTS}/1/vote", "operator ana"),
    ]
    refused = await anyio.Path(site.home / "audit-refused.log").read_text()
    last = json.loads(refused.splitlines()[-1])
    assert (last["outcome"], last["path"], last["who"]) == ("refused", POSTS, "operator ana")
    assert "sesame" not in await log.read_text() + refused


async def test_the_forums_filters_work_without_words_and_go_on_to_the_next_page(site: Site, ana: Person) -> None:
    async with site.client() as client:
        for index in range(33):
            sent = {"kind": "question", "title": f"wombat {index}", "body": "see s11" if index == 5 else "nothing"}
            made = (await client.post(f"{API}/posts", json=sent, headers=site.researcher("r4"))).json()
        await client.put(f"{API}/posts/{made['id']}/retraction", json={"reason": "x"}, headers=site.researcher("r4"))
        day = made["created_at"][:10]

        async def found(**asked: str) -> list[str]:
            answer = await client.get(POSTS, params=asked)
            assert answer.status_code == 200, answer.text
            more = re.search(r'href="\?([^"]*)">(?:Older|More)<', answer.text)
            shown = answer.text[answer.text.index('aria-label="Posts"') :]
            titles = re.findall(r">wombat (\d+)</a>", shown)
            twin = re.search(r'href="(/api/v1/campaigns/k3v9qd/(?:posts|search)\?[^"]*)">posts<', answer.text)
            assert twin
            if "after" not in asked:
                same = [each["title"] for each in (await client.get(html.unescape(twin[1]))).json()["items"]]
                assert [each for each in same if "wombat" in each][:30] == [f"wombat {index}" for index in titles]
            return titles + (await _next(html.unescape(more[1])) if more else [])

        async def _next(query: str) -> list[str]:
            return await found(**dict(parse_qsl(query)))

        newest_first = [str(index) for index in range(31, -1, -1)]
        assert await found(author="r4", kind="question") == newest_first
        assert await found(author="r4", kind="question", retracted="true") == ["32", *newest_first]
        assert await found(submission="s11") == await found(submission="11") == ["5"]
        assert await found(kind="question", since=day, until=day) == newest_first
        assert await found(since="9999-12-31") == await found(until="2020-01-01") == await found(author="r3") == []
        assert await found(q="wombat", submission="s11") == ["5"]
        assert len(await found(until="9999-12-31", kind="question")) == 32
        for asked in ({"since": "soon"}, {"submission": "s"}, {"submission": "best"}, {"kind": "rant"}):
            status = (await client.get(POSTS, params=asked)).status_code
            assert status == (200 if asked == {"submission": "s"} else 400), asked
        page = (await client.get(POSTS, params={"author": "r4", "since": day, "submission": "11"})).text
    for held in (f'name="since" value="{day}"', 'name="submission" value="s11"', 'name="author" value="r4"'):
        assert held in page
