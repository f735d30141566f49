"""Votes, pins, claims, edits and retractions from the forum's pages."""

from __future__ import annotations

import re

import pytest

from .conftest import Site
from .person import API, CAMPAIGN, POSTS, Person, hidden, typed

pytestmark = pytest.mark.anyio


async def test_a_vote_counts_once_shows_whose_it_is_and_may_change(ana: Person) -> None:
    where = f"{POSTS}/2"
    fields = await ana.fields(where)
    for value, shown in (("1", "+2"), ("1", "+2"), ("-1", "0")):
        answer = await ana.send(f"{where}/vote", csrf=fields["csrf"], value=value)
        assert (answer.status_code, answer.headers["location"]) == (303, where)
        page = await ana.open(where)
        assert f"<span>{shown} votes</span>" in page
        assert f'value="{value}" aria-pressed="true"' in page
        assert page.count('aria-pressed="true"') == 1
    assert (await ana.send(f"{where}/vote", csrf=fields["csrf"], value="9")).status_code == 400
    assert "Vote up" not in await ana.open(f"{POSTS}/4"), "her own post"


async def test_pins_and_claims(site: Site, ana: Person) -> None:
    csrf = (await ana.fields(f"{POSTS}/3"))["csrf"]
    assert (await ana.send(f"{POSTS}/3/pin", csrf=csrf, pinned="yes")).headers["location"] == f"{POSTS}/3"
    assert ">Unpin</button>" in await ana.open(f"{POSTS}/3")
    assert 'id="pinned"' in await ana.open(POSTS)
    await ana.send(f"{POSTS}/3/pin", csrf=csrf, pinned="no")
    assert 'id="pinned"' not in await ana.open(POSTS)

    async with site.client() as client:
        sent = {"topic": "sparse probes", "hours": 3}
        claim = (await client.post(f"{API}/claims", json=sent, headers=site.researcher("r1"))).json()
    page = await ana.open(POSTS)
    assert f'<button form="release" formaction="{CAMPAIGN}/claims/{claim["id"]}/release"' in page
    assert re.search(r'<form id="release" method="post"[^>]*><input type="hidden" name="csrf"', page)
    answer = await ana.send(f"{CAMPAIGN}/claims/{claim['id']}/release", csrf=csrf)
    assert answer.headers["location"] == POSTS
    page = await ana.open(POSTS)
    assert "r1 no longer claims sparse probes" in page
    assert 'aria-labelledby="claims"' not in page


async def test_an_edit_keeps_the_former_words_and_passes_nobody_over(site: Site, ana: Person) -> None:
    async with site.client() as client:
        sent = {"kind": "result", "title": "Draft", "body": "\n    x = 1\n"}
        made = (await client.post(f"{API}/posts", json=sent, headers=site.researcher("r2"))).json()
        where, api = f"{POSTS}/{made['id']}", f"{API}/posts/{made['id']}"
        page = await ana.open(f"{where}/edit")
        assert re.search(r"<textarea[^>]*>\n\n    x = 1\n</textarea>", page)
        fields = {name: value for name, value in hidden(page).items() if name in ("csrf", "seen")}
        seen = await ana.send(f"{where}/edit", **fields, action="preview", title="Better", body="*New*")
        assert "<em>New</em>" in seen.text
        await client.patch(api, json={"body": "r2's own second thought"}, headers=site.researcher("r2"))
        late = await ana.send(f"{where}/edit", **fields, action="save", title="Better", body="*New*")
        assert late.status_code == 422
        assert "second thought" in late.text
        assert typed(late.text.replace("<textarea", '<a id="write"><textarea', 1), "body") == "*New*"
        both = await ana.send(f"{where}/edit", **fields, action="save", title="", body="*New*")
        assert "The title is empty" in both.text
        assert (await client.get(api)).json()["post"]["title"] == "Draft"
        fields["seen"] = hidden(late.text)["seen"]
        for _ in range(2):
            saved = await ana.send(f"{where}/edit", **fields, action="save", title="Better", body="*New*")
            assert (saved.status_code, saved.headers["location"]) == (303, where)
        former = (await client.get(f"{api}/history")).json()
    assert [each["body"] for each in former] == [sent["body"], "r2's own second thought"]
    page = await ana.open(where)
    assert "2 former versions" in page
    assert "<em>New</em>" in page


async def test_labels_that_somebody_else_changed_meanwhile_are_not_passed_over(site: Site, ana: Person) -> None:
    async with site.client() as client:
        sent = {"kind": "result", "title": "Labels", "body": "Words.", "families": ["ensemble"]}
        made = (await client.post(f"{API}/posts", json=sent, headers=site.researcher("r2"))).json()
        where, api = f"{POSTS}/{made['id']}", f"{API}/posts/{made['id']}"
        fields = {
            name: value for name, value in (await ana.fields(f"{where}/edit")).items() if name in ("csrf", "seen")
        }
        await client.patch(api, json={"families": ["distillation"]}, headers=site.researcher("r2"))
        new = {"title": "Labels", "body": "Better words.", "families": "ensemble"}
        late = await ana.send(f"{where}/edit", **fields, action="save", **new)
        assert late.status_code == 422
        assert "Ideas: distillation" in late.text
        fields["seen"] = hidden(late.text)["seen"]
        saved = await ana.send(f"{where}/edit", **fields, action="save", **new)
        assert saved.status_code == 303
        assert (await client.get(api)).json()["post"]["families"] == ["ensemble"]


async def test_a_comment_is_edited_and_what_is_retracted_says_why(site: Site, ana: Person) -> None:
    fields = await ana.fields(f"{POSTS}/3")
    made = await ana.send(f"{POSTS}/3", **fields, action="comment", body="Frist.")
    number = made.headers["location"].rpartition("-")[2]
    edit = f"{CAMPAIGN}/comments/{number}/edit"
    assert f'href="{edit}"' in await ana.open(f"{POSTS}/3")
    fields = {name: value for name, value in (await ana.fields(edit)).items() if name in ("csrf", "seen")}
    saved = await ana.send(edit, **fields, action="save", body="First.")
    assert saved.headers["location"] == made.headers["location"]
    assert "<p>First.</p>" in await ana.open(f"{POSTS}/3")
    empty = await ana.send(edit, **fields, action="retract", reason=" ")
    assert (empty.status_code, "The reason is empty" in empty.text, "First." in empty.text) == (422, True, True)
    for place in (edit, f"{POSTS}/3/edit"):
        await ana.send(place, csrf=fields["csrf"], action="retract", reason="A bug in <i>my</i> split")
    page = await ana.open(f"{POSTS}/3")
    assert page.count("A bug in &lt;i&gt;my&lt;/i&gt; split") == 2
    assert "Edit or retract" not in page
    assert "It was retracted" in await ana.open(edit)
    late = await ana.send(edit, **fields, action="save", body="Third.")
    assert (late.status_code, ">\nThird.</textarea>" in late.text) == (422, True)
    assert "<p>First.</p>" in await ana.open(f"{POSTS}/3")


async def test_a_refresh_leaves_the_line_for_the_next_page(ana: Person) -> None:
    where = f"{POSTS}/2"
    await ana.send(f"{where}/pin", csrf=(await ana.fields(where))["csrf"], pinned="yes")
    for header in ("aar-seen", "hx-request"):
        fresh = await ana.client.get(where, headers={header: "1"})
        assert fresh.status_code == 200
        assert "#2 is pinned" not in fresh.text
        assert '<form class="act"' not in fresh.text or "csrf" in fresh.text
    assert "#2 is pinned" in await ana.open(where)
    assert "#2 is pinned" not in await ana.open(where)


async def test_ideas_are_labelled_and_relabelled(site: Site, ana: Person) -> None:
    said = {"kind": "insight", "title": "Labelled", "body": "Two ideas.", "families": "Model internals, ensemble"}
    where = (await ana.send(POSTS, **await ana.fields(POSTS), action="post", **said)).headers["location"]

    async def labels() -> list[str]:
        async with site.client() as client:
            found: list[str] = (await client.get(f"/api/v1{where}")).json()["post"]["families"]
        return found

    assert await labels() == ["model-internals", "ensemble"]
    form = await ana.open(f"{where}/edit")
    assert typed(form, "families") == "model-internals, ensemble"
    words = {name: typed(form, name) for name in ("title", "body")}
    saved = await ana.send(f"{where}/edit", **hidden(form), action="save", **words, families="curriculum")
    assert saved.status_code == 303
    assert await labels() == ["curriculum"]
