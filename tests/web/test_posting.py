"""The forum's forms: what they store, once; what they refuse, with every word kept; and who gets to see them."""

from __future__ import annotations

import html
import json
import re
from typing import Any
from urllib.parse import parse_qsl

import anyio
import httpx
import pytest

from aar.forum.limits import MAX_BODY, MAX_TITLE
from aar.forum.news import news_since
from aar.forum.tokens import operator_token, viewer_token
from aar.store import event_log

from .conftest import Site

pytestmark = pytest.mark.anyio
CAMPAIGN = "/campaigns/k3v9qd"
POSTS = f"{CAMPAIGN}/posts"
API = f"/api/v1{CAMPAIGN}"
MARKDOWN = "    indented code\n\n**Bold** <b>&amp;</b> and s7\n"


class Person:
    """Somebody at a browser without JavaScript."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def log_in(self, token: str, name: str = "ana") -> None:
        answer = await self._client.post("/login", data={"token": token, "name": name})
        assert answer.status_code == 303

    async def open(self, path: str) -> str:
        answer = await self._client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def fields(self, path: str) -> dict[str, str]:
        """The hidden fields of the page's form that has most of them."""
        return hidden(await self.open(path))

    async def send(self, path: str, **fields: str) -> httpx.Response:
        return await self._client.post(path, data=fields)


def hidden(page: str) -> dict[str, str]:
    """Hidden fields of a page's main; forms share their token."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page[page.index("<main") :]))


def typed(page: str, name: str) -> str:
    """What a field of a page holds."""
    area = re.search(rf'<textarea[^>]* name="{name}"[^>]*>\n(.*?)</textarea>', page, re.S)
    if area:
        return html.unescape(area[1])
    line = re.search(rf'<input\s[^>]*name="{name}"[^>]* value="([^"]*)"', page[page.index('id="write"') :])
    assert line, name
    return html.unescape(line[1])


@pytest.fixture
async def ana(site: Site) -> Any:
    async with site.client() as client:
        person = Person(client)
        await person.log_in(operator_token(site.home))
        yield person


def events(site: Site) -> int:
    with site.db.reading() as session:
        return event_log.latest_event_id(session, "k3v9qd")


async def test_a_post_is_stored_as_typed_and_told_to_researchers_as_a_persons(site: Site, ana: Person) -> None:
    fields = await ana.fields(POSTS)
    before = events(site)
    body = MARKDOWN.replace("\n", "\r\n")  # as browsers send it
    answer = await ana.send(
        POSTS, **fields, action="post", kind="insight", title=" Look  here ", body=body, submission="s7"
    )
    assert answer.status_code == 303, answer.text
    page = await ana.open(answer.headers["location"])
    assert "is on the forum; researchers read it at their next turn" in page
    async with site.client() as client:
        made = (await client.get(f"/api/v1{answer.headers['location']}")).json()["post"]
    assert (made["title"], made["body"], made["submission_number"]) == ("Look here", MARKDOWN, 7)
    assert (made["author"], made["by_human"], made["kind"]) == ("human:ana", True, "insight")
    with site.db.reading() as session:
        told = news_since(session, "k3v9qd", "k3v9qd-r1", before)
    assert "Look here" in str(told)


async def test_a_form_sent_twice_is_stored_once_and_changed_words_are_kept(site: Site, ana: Person) -> None:
    fields = await ana.fields(POSTS)
    said = {"kind": "result", "title": "Twice", "body": "One effect.", "submission": ""}
    first = await ana.send(POSTS, **fields, action="post", **said)
    after = events(site)
    again = await ana.send(POSTS, **fields, action="post", **said)
    assert (again.status_code, again.headers["location"]) == (303, first.headers["location"])
    changed = await ana.send(POSTS, **fields, action="post", **{**said, "body": "Another one."})
    assert changed.status_code == 422
    assert first.headers["location"].rpartition("/")[2] in changed.text
    assert typed(changed.text, "body") == "Another one."
    assert events(site) == after
    anew = await ana.send(POSTS, **hidden(changed.text), action="post", **{**said, "body": "Another one."})
    assert anew.headers["location"].partition("?")[0] != first.headers["location"]

    where = first.headers["location"]
    fields = await ana.fields(where)
    comments = [await ana.send(where, **fields, action="comment", body="So it is.") for _ in range(2)]
    assert comments[0].headers["location"] == comments[1].headers["location"]
    assert re.fullmatch(rf"{where}#comment-\d+", comments[0].headers["location"])
    assert (await ana.open(where)).count("<p>So it is.</p>") == 1
    other = await ana.send(where, **fields, action="comment", body="It is not.")
    assert (other.status_code, typed(other.text, "body")) == (422, "It is not.")
    assert "<p>It is not.</p>" not in await ana.open(where)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"title": " "}, {"title": "The title is empty"}),
        ({"title": "x" * (MAX_TITLE + 1)}, {"title": "201 characters, and the limit is 200"}),
        ({"body": ""}, {"body": "The text is empty"}),
        ({"body": "ж" * (MAX_BODY + 1)}, {"body": "20,001 characters, and the limit is 20,000"}),
        ({"submission": "s99"}, {"submission": "s99"}),
        ({"submission": "best"}, {"submission": "no submission"}),
        ({"kind": "rant"}, {"kind": "No post kind"}),
        (
            {"title": "", "body": "", "submission": "-1"},
            {"title": "empty", "body": "empty", "submission": "no submission"},
        ),
    ],
)
@pytest.mark.parametrize("action", ["post", "preview"])
async def test_what_does_not_hold_is_said_beside_its_field_and_nothing_typed_is_lost(
    site: Site, ana: Person, wrong: dict[str, str], says: dict[str, str], action: str
) -> None:
    fields = await ana.fields(POSTS)
    before = events(site)
    said = {"kind": "error", "title": 'A "title" <b>', "body": MARKDOWN, "submission": "s14"} | wrong
    answer = await ana.send(POSTS, **fields, action=action, **said)
    assert answer.status_code == 422
    assert events(site) == before
    for name in ("title", "body", "submission"):
        assert typed(answer.text, name) == said[name]
    assert ("<option selected>error</option>" in answer.text) is ("kind" not in wrong)
    assert len(re.findall('aria-invalid="true"', answer.text)) == len(says)
    for name, message in says.items():
        beside = re.search(rf'id="post-{name}-wrong">([^<]*)<', answer.text)
        assert beside
        assert message in html.unescape(beside[1])
        assert f'href="#post-{name}"' in answer.text
        assert re.search(rf'id="post-{name}"[^>]*post-{name}-wrong', answer.text)
    assert hidden(answer.text)["once"] == fields["once"]


async def test_a_preview_renders_and_names_what_says_the_same_and_stores_nothing(site: Site, ana: Person) -> None:
    text = "Averaging the logits of nine probes while dropping disagreeing sentences raises the recovered gap."
    first = await ana.send(POSTS, **await ana.fields(POSTS), action="post", kind="result", title="Probes", body=text)
    number = first.headers["location"].rpartition("/")[2]
    before = events(site)
    fields = await ana.fields(POSTS)
    said = {"kind": "result", "title": "Probes again", "body": f"# Seen\n\n{text} See s7.\n\n<i>x</i>"}
    seen = await ana.send(POSTS, **fields, action="preview", **said)
    shown = seen.text[seen.text.index('aria-label="Preview"') : seen.text.index("</article>")]
    assert (seen.status_code, events(site)) == (200, before)
    assert "<h3>Seen</h3>" in shown
    assert "&lt;i&gt;x&lt;/i&gt;" in shown
    assert f'href="{CAMPAIGN}/submissions/7"' in shown
    assert f'<a href="{POSTS}/{number}">#{number} Probes</a>' in seen.text
    assert typed(seen.text, "body") == said["body"]
    made = await ana.send(POSTS, **hidden(seen.text), action="post", **said)
    assert made.headers["location"].endswith("?similar=true")
    assert f'<a href="{POSTS}/{number}">#{number} Probes</a>' in await ana.open(made.headers["location"])

    where = first.headers["location"]
    seen = await ana.send(where, **await ana.fields(where), action="preview", body="*Hm* `x`")
    assert "<em>Hm</em> <code>x</code>" in seen.text
    assert typed(seen.text, "body") == "*Hm* `x`"
    empty = await ana.send(where, **await ana.fields(where), action="comment", body=" \r\n ")
    assert (empty.status_code, "The comment is empty" in empty.text) == (422, True)


@pytest.mark.parametrize("character", ["a", "ж", "猫", "🜚", "\n"])
async def test_a_text_at_its_limit_arrives_in_any_script(site: Site, ana: Person, character: str) -> None:
    body = "x" + character * (MAX_BODY - 2) + "x"
    fields = await ana.fields(POSTS)
    sent = {"kind": "result", "title": "猫" * MAX_TITLE, "body": body.replace("\n", "\r\n")}
    answer = await ana.send(POSTS, **fields, action="post", **sent)
    assert answer.status_code == 303, answer.text[:2000]
    async with site.client() as client:
        address = f"/api/v1{answer.headers['location'].partition('?')[0]}"
        assert (await client.get(address)).json()["post"]["body"] == body
    page = await ana.open(POSTS)
    most = int(re.search(r'id="post-body"[^>]*maxlength="(\d+)"', page)[1])  # type: ignore[index]
    assert most >= len(body.encode("utf-16-le")) // 2  # browsers count UTF-16 units, and cut without a word
    too_long = await ana.send(POSTS, **fields, action="post", kind="result", title="t", body="猫" * most)
    assert (too_long.status_code, typed(too_long.text, "body")) == (422, "猫" * most)
    flood = await ana.send(POSTS, **fields, action="post", kind="result", title="t", body="猫" * 60_000)
    assert (flood.status_code, "KiB" in flood.text) == (400, True)


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
        csrf = re.search(r'name="csrf" value="(\w+)"', await viewer.open("/campaigns"))[1]  # type: ignore[index]
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
    ended = ana._client.cookies
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
        ("refused", POSTS, "operator ana"),
    ]
    assert "sesame" not in await log.read_text()


async def test_a_refresh_leaves_the_line_for_the_next_page(ana: Person) -> None:
    where = f"{POSTS}/2"
    await ana.send(f"{where}/pin", csrf=(await ana.fields(where))["csrf"], pinned="yes")
    for header in ("aar-seen", "hx-request"):
        fresh = await ana._client.get(where, headers={header: "1"})
        assert fresh.status_code == 200
        assert "#2 is pinned" not in fresh.text
        assert '<form class="act"' not in fresh.text or "csrf" in fresh.text
    assert "#2 is pinned" in await ana.open(where)
    assert "#2 is pinned" not in await ana.open(where)


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
