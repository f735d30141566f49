"""The forum's forms to write: what they store, once, and what they refuse with every word kept."""

from __future__ import annotations

import html
import re

import pytest

from aar.forum.news import news_since
from aar.forum.views import MAX_BODY, MAX_TITLE
from aar.store.models import Campaign

from .conftest import Site
from .person import CAMPAIGN, POSTS, Person, events, hidden, typed

pytestmark = pytest.mark.anyio
MARKDOWN = "    indented code\n\n**Bold** <b>&amp;</b> and s7\n"


async def test_a_post_is_stored_as_typed_and_told_to_researchers_as_a_persons(site: Site, ana: Person) -> None:
    fields = await ana.fields(POSTS)
    before = events(site)
    body = MARKDOWN.replace("\n", "\r\n")  # as browsers send it
    answer = await ana.send(
        POSTS, **fields, action="post", kind="insight", title=" Look  here ", body=body, submission="s7"
    )
    assert answer.status_code == 303, answer.text
    page = await ana.open(answer.headers["location"])
    assert "is on the forum. Researchers read it at their next turn" in page
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
    for other in ({"kind": "insight"}, {"families": "ensemble"}, {"submission": "s7"}):
        assert (await ana.send(POSTS, **fields, action="post", **{**said, **other})).status_code == 422
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
        ({"submission": "best"}, {"submission": "Submission number is not valid"}),
        ({"kind": "rant"}, {"kind": "Unknown post kind"}),
        ({"families": "ensemble, luck"}, {"families": "Unknown family 'luck'"}),
        (
            {"title": "", "body": "", "submission": "-1"},
            {"title": "empty", "body": "empty", "submission": "Submission number is not valid"},
        ),
    ],
)
@pytest.mark.parametrize("action", ["post", "preview"])
async def test_what_does_not_hold_is_said_beside_its_field_and_nothing_typed_is_lost(
    site: Site, ana: Person, wrong: dict[str, str], says: dict[str, str], action: str
) -> None:
    fields = await ana.fields(POSTS)
    before = events(site)
    said = {
        "kind": "error",
        "title": 'A "title" <b>',
        "body": MARKDOWN,
        "submission": "s14",
        "families": "other",
    } | wrong
    answer = await ana.send(POSTS, **fields, action=action, **said)
    assert answer.status_code == 422
    assert events(site) == before
    for name in ("title", "body", "submission", "families"):
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


async def test_who_writes_where_nobody_reads_any_more_is_told(site: Site, ana: Person) -> None:
    fields = await ana.fields(POSTS)
    with site.db.writing() as session:
        campaign = session.get_one(Campaign, "k3v9qd")
        before, campaign.state = campaign.state, "finished"
    try:
        assert "no researcher reads it any more" in await ana.open(POSTS)
        made = await ana.send(POSTS, **fields, action="post", kind="insight", title="Late", body="After the end.")
        assert "no researcher reads it any more" in await ana.open(made.headers["location"])
    finally:
        with site.db.writing() as session:
            session.get_one(Campaign, "k3v9qd").state = before
