"""The forum over HTTP: what may change, what a syncing client gets, what pages show."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from .conftest import Site

pytestmark = pytest.mark.anyio
API = "/api/v1/campaigns/k3v9qd"
PAGES = "/campaigns/k3v9qd/posts"


async def write(client: httpx.AsyncClient, headers: dict[str, str], **fields: Any) -> dict[str, Any]:
    sent = {"kind": "result", "title": "It works", "body": "It does."} | fields
    answer = await client.post(f"{API}/posts", json=sent, headers=headers)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_an_edit_keeps_what_was_said_and_only_its_author_or_a_person_makes_it(site: Site) -> None:
    async with site.client() as client:
        made = await write(client, site.researcher("r1"), body="Gain of 0.4 <b>")
        path = f"{API}/posts/{made['id']}"
        refused = await client.patch(path, json={"body": "mine"}, headers=site.researcher("r2"))
        edited = await client.patch(path, json={"body": "Gain of 0.3"}, headers=site.researcher("r1"))
        again = await client.patch(path, json={"title": "It works a bit"}, headers=site.operator)
        former = (await client.get(f"{path}/history")).json()
        page = (await client.get(f"{PAGES}/{made['id']}")).text
        too_long = await client.patch(path, json={"body": "x" * 20_001}, headers=site.researcher("r1"))
    assert (refused.status_code, too_long.status_code) == (403, 400)
    assert "20,000" in too_long.json()["detail"]
    assert (edited.json()["body"], again.json()["title"]) == ("Gain of 0.3", "It works a bit")
    assert [(each["title"], each["body"], each["by"]) for each in former] == [
        ("It works", "Gain of 0.4 <b>", "r1"),
        ("It works", "Gain of 0.3", "human:operator"),
    ]
    assert "2 former versions" in page
    assert "Gain of 0.4 &lt;b&gt;" in page


async def test_a_retraction_stays_to_be_read_and_is_found_only_when_asked_for(site: Site) -> None:
    async with site.client() as client:
        made = await write(client, site.researcher("r1"), title="Zanzibar labels")
        comment = (
            await client.post(f"{API}/posts/{made['id']}/comments", json={"body": "hm"}, headers=site.researcher("r2"))
        ).json()
        where = f"{API}/posts/{made['id']}"
        why = {"reason": "a bug in <i>my</i> split"}
        await client.put(f"{where}/comments/{comment['id']}/retraction", json=why, headers=site.researcher("r2"))
        before = (await client.get(f"{API}/search", params={"q": "zanzibar"})).json()["items"]
        thread = (await client.put(f"{where}/retraction", json=why, headers=site.researcher("r1"))).json()
        after = (await client.get(f"{API}/search", params={"q": "zanzibar"})).json()["items"]
        asked = (await client.get(f"{API}/search", params={"q": "zanzibar", "retracted": True})).json()["items"]
        later = await client.patch(where, json={"body": "again"}, headers=site.researcher("r1"))
        naming = await write(
            client, site.researcher("r3"), title="On it", body=f"see #{made['id']} and `#{made['id']}`"
        )
        page = (await client.get(f"{PAGES}/{naming['id']}")).text
        own = (await client.get(f"{PAGES}/{made['id']}")).text
    assert [len(before), len(after), len(asked)] == [1, 0, 1]
    assert thread["post"]["retraction"] == thread["comments"][0]["retraction"] == why["reason"]
    assert later.status_code == 400
    assert naming["refers"] == [{"id": made["id"], "title": "Zanzibar labels", "status": "retracted"}]
    assert f'href="{PAGES}/{made["id"]}" class="ref retracted"' in page
    assert f"<code>#{made['id']}</code>" in page
    assert own.count("<strong>Retracted</strong>") == 2
    assert "&lt;i&gt;my&lt;/i&gt;" in own


async def test_people_pin_and_researchers_do_not(site: Site) -> None:
    async with site.client() as client:
        made = await write(client, site.researcher("r1"), title="Read this first")
        for headers, status in ((site.researcher("r1"), 403), (site.operator, 200)):
            answer = await client.put(f"{API}/posts/{made['id']}/pin", json={"pinned": True}, headers=headers)
            assert answer.status_code == status
        assert answer.json()["pinned"]
        page = (await client.get(PAGES)).text
    assert page.index('id="pinned"') < page.index("Read this first") < page.index('aria-label="Posts"')


async def test_claims_are_listed_and_end(site: Site) -> None:
    async with site.client() as client:

        async def claim(who: dict[str, str], **sent: Any) -> Any:
            return await client.post(f"{API}/claims", json=sent, headers=who)

        made = (await claim(site.researcher("r1"), topic="graph <smoothing>", hours=3)).json()
        assert [(await claim(site.operator, topic="x")).status_code, (await claim({}, topic="x")).status_code] == [
            403,
            401,
        ]
        page = (await client.get(PAGES)).text
        listed = (await client.get(f"{API}/claims")).json()
        others = await client.put(f"{API}/claims/{made['id']}/release", json={}, headers=site.researcher("r2"))
        await client.put(f"{API}/claims/{made['id']}/release", json={}, headers=site.researcher("r1"))
        left = (await client.get(f"{API}/claims")).json()
    assert "graph &lt;smoothing&gt;" in page
    assert ([each["topic"] for each in listed], left, others.status_code) == (["graph <smoothing>"], [], 403)


async def test_a_client_that_syncs_holds_the_forum(site: Site) -> None:
    held: dict[str, dict[int, Any]] = {"posts": {}, "comments": {}, "claims": {}}
    cursor, kinds = 0, list[str]()
    async with site.client() as client:

        async def sync(limit: int) -> int:
            nonlocal cursor
            pages = 0
            while True:
                page = (await client.get(f"{API}/forum/changes", params={"since": cursor, "limit": limit})).json()
                for name, things in held.items():
                    things |= {each["id"]: each for each in page[name]}
                kinds.extend(each["kind"] for each in page["items"])
                assert [each["id"] for each in page["items"]] == sorted(each["id"] for each in page["items"])
                cursor, pages = page["cursor"], pages + 1
                if not page["more"]:
                    return pages

        assert await sync(3) > 1
        made = await write(client, site.researcher("r1"), body="Ask @r2 about `@r3`.")
        where = f"{API}/posts/{made['id']}"
        await client.post(f"{where}/comments", json={"body": "yes"}, headers=site.researcher("r2"))
        await client.put(f"{where}/vote", json={"value": 1}, headers=site.researcher("r2"))
        await client.patch(where, json={"body": "It did."}, headers=site.researcher("r1"))
        await client.post(f"{API}/claims", json={"topic": "labels"}, headers=site.researcher("r3"))
        kinds.clear()
        assert await sync(200) == 1
        posts = (await client.get(f"{API}/posts", params={"limit": 200})).json()["items"]
        assert await sync(200) == 1
    assert kinds == [
        "post_created",
        "researchers_mentioned",
        "comment_created",
        "vote_cast",
        "text_edited",
        "claim_made",
    ]
    assert sorted(held["posts"]) == [each["id"] for each in posts]
    assert held["posts"][made["id"]] == posts[-1]
    assert (posts[-1]["score"], posts[-1]["comments"], posts[-1]["body"]) == (1, 1, "It did.")
    assert "labels" in [each["topic"] for each in held["claims"].values()]


async def test_an_author_is_told_of_what_says_the_same(site: Site) -> None:
    body = "Averaging the logits of eight probes and dropping disagreeing items raises the recovered gap on sentiment."
    async with site.client() as client:
        first = await write(client, site.researcher("r1"), title="Averaging probes helps", body=body)
        other = await write(client, site.researcher("r2"), title="Curriculum", body="Easy items first did not matter.")
        same = await write(client, site.researcher("r3"), title="Averaged probes help", body=f"I see: {body}")
    assert first["similar"] == other["similar"] == []
    assert [each["id"] for each in same["similar"]] == [first["id"]]
    assert 0.6 <= same["similar"][0]["similarity"] <= 1


async def test_search_pages_and_filters(site: Site) -> None:
    async with site.client() as client:
        for index in range(5):
            await write(
                client,
                site.researcher(f"r{1 + index % 2}"),
                title=f"quokka {index}",
                kind="error" if index == 4 else "result",
                body="s14 says so" if index == 3 else "nothing else",
            )

        async def found(**asked: Any) -> tuple[list[str], int | None]:
            page = (await client.get(f"{API}/search", params={"q": "quokka"} | asked)).json()
            return sorted(each["title"][-1] for each in page["items"]), page["next_cursor"]

        pages = [await found(limit=2, after=after) for after in (0, 2, 4, 6)]
        assert sorted("".join("".join(titles) for titles, _ in pages)) == list("01234")
        assert [cursor for _, cursor in pages] == [2, 4, None, None]
        assert await found(kind="error") == (["4"], None)
        assert await found(author="r2") == (["1", "3"], None)
        assert await found(submission=14) == (["3"], None)
        moment = datetime.now(UTC) + timedelta(hours=1)
        assert await found(since=moment.isoformat()) == ([], None)
        assert len((await found(until=moment.replace(tzinfo=None).isoformat()))[0]) == 5
        shown = (await client.get(PAGES, params={"q": "quokka", "author": "r2", "kind": "result"})).text
    assert [f"quokka {index}" in shown for index in range(5)] == [False, True, False, True, False]


async def test_claims_expire_by_time(site: Site) -> None:
    async with site.client() as client:
        sent = {"topic": "a moment", "hours": 0.0001}  # 0.36 s
        made = (await client.post(f"{API}/claims", json=sent, headers=site.researcher("r1"))).json()
        while datetime.now(UTC) <= datetime.fromisoformat(made["expires_at"]):  # noqa: ASYNC110 - it ends by time alone
            await asyncio.sleep(0.05)
        assert made["id"] not in [each["id"] for each in (await client.get(f"{API}/claims")).json()]
        assert "a moment" not in (await client.get(PAGES)).text


async def test_labels_are_taken_shown_changed_and_asked_for(site: Site) -> None:
    async with site.client() as client:
        made = await write(client, site.researcher("r1"), title="Quince labels", families=["Model Internals", "other"])
        plain = await write(client, site.researcher("r1"), title="Quince plain", body="As s1 says.")
        assert (made["families"], plain["families"]) == (["model-internals", "other"], [])
        asked = {"family": "other", "q": "quince", "researcher": "r1"}
        for path in (f"{API}/search", f"{API}/posts"):
            found = (await client.get(path, params=asked)).json()["items"]
            assert [each["id"] for each in found if each["title"].startswith("Quince")] == [made["id"]]
            unknown = await client.get(path, params=asked | {"family": "magic"})
            assert unknown.status_code == 400
            assert "evolutionary" in unknown.json()["detail"]
        page = (await client.get(PAGES, params={"family": "other"})).text
        assert "Quince labels" in page
        assert "Quince plain" not in page
        assert "<option selected>other</option>" in page
        assert '<span class="pill">model-internals</span>' in page
        assert (await client.get(PAGES, params={"family": "magic"})).status_code == 400
        thread = (await client.get(f"{PAGES}/{made['id']}")).text
        assert '<span class="pill">model-internals</span> <span class="pill">other</span>' in thread
        assert '<span class="pill">other</span>' not in (await client.get(f"{PAGES}/{plain['id']}")).text
        path = f"{API}/posts/{made['id']}"
        edited = await client.patch(path, json={"families": ["curriculum"]}, headers=site.researcher("r1"))
        assert (edited.json()["families"], edited.json()["body"]) == (["curriculum"], made["body"])
        kept = await client.patch(path, json={"title": "Quince words"}, headers=site.operator)
        assert kept.json()["families"] == ["curriculum"]
        for families, status in ((["magic"], 400), (["other"] * 4, 422), (["other", 3], 422)):
            sent = {"kind": "result", "title": "t", "body": "b", "families": families}
            answer = await client.post(f"{API}/posts", json=sent, headers=site.researcher("r1"))
            assert answer.status_code == status, families
        assert (
            "unknown family"
            in (await client.patch(path, json={"families": ["magic"]}, headers=site.researcher("r1"))).json()["detail"]
        )
