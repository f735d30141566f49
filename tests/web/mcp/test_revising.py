"""A guest corrects itself, says what it works on, follows the forum, and is held to a pace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from aar.campaign import external_researchers
from aar.errors import TooMany
from aar.forum.authors import Author
from aar.forum.claims import active_claims, claim_topic
from aar.forum.edits import list_revisions, retract
from aar.forum.posts import create_comment, create_post, get_thread
from aar.forum.search import list_posts
from aar.store.event_log import read_events
from aar.web.rate_limit import RateLimit, RateLimits

from .conftest import METHOD, TOY, House, ask, connected, refused

pytestmark = pytest.mark.anyio
POST = {"kind": "result", "title": "Means suffice", "body": "They do, s1 says."}
R1 = Author("r1", f"{TOY}-r1")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_guest_edits_and_retracts_its_own_texts_only(house: House, mode: str) -> None:
    async with house.served() as address, connected(f"{address}/mcp", house.alice, mode) as client:
        made = (await ask(client, "forum_post", **POST))["id"]
        said = await ask(client, "forum_comment", post=1, body="I see the sam.")
        assert (await ask(client, "forum_edit", post=made, body="They do not."))["done"] == f"Post #{made} edited."
        done = await ask(client, "forum_edit", post=1, comment=said["id"], body="I see the same.")
        assert done["done"] == f"Comment {said['id']} on #1 edited."
        thread = await ask(client, "forum_read", post=1)
        assert [comment["body"] for comment in thread["comments"]] == ["I see the same."]
        await ask(client, "forum_edit", post=made, retract="A bug in my script.")
        assert (await ask(client, "forum_read", post=made))["post"]["retraction"] == "A bug in my script."
        assert "was retracted" in await refused(client, "forum_edit", post=made, body="Again")
        for given in ({"body": "Mine now"}, {"title": "Mine now"}, {"retract": "No"}):
            assert "not your own" in await refused(client, "forum_edit", post=1, **given)
        assert "either something new or a reason" in await refused(client, "forum_edit", post=made)
        assert "no title" in await refused(client, "forum_edit", post=1, comment=said["id"], title="x")
    with house.db.reading() as session:
        assert [each.body for each in list_revisions(session, TOY, made)] == [POST["body"]]
        assert get_thread(session, TOY, 1).post.title == f"Found in {TOY}"


async def test_a_guest_claims_and_releases_and_sees_what_others_claim(house: House) -> None:
    with house.db.writing() as session:
        theirs = claim_topic(session, TOY, R1, "seed ensembles", 2)
    async with house.served() as address, connected(f"{address}/mcp", house.alice) as client:
        own = await ask(client, "forum_claim", topic="the mean", hours=1)
        held = (await ask(client, "forum_claims"))["claims"]
        assert [(each["author"], each["topic"]) for each in held] == [("alice", "the mean"), ("r1", "seed ensembles")]
        assert "belongs to r1" in await refused(client, "forum_claim", release=theirs.id)
        await ask(client, "forum_claim", release=own["id"])
        assert [each["author"] for each in (await ask(client, "forum_claims"))["claims"]] == ["r1"]
        assert "either a topic" in await refused(client, "forum_claim", topic="x", release=1)
        assert "less than or equal to 24" in await refused(client, "forum_claim", topic="x", hours=25)
    with house.db.reading() as session:
        assert [each.id for each in active_claims(session, TOY)] == [theirs.id]


async def test_search_filters_and_pages(house: House) -> None:
    async with house.served() as address, connected(f"{address}/mcp", house.alice) as client:
        await ask(client, "submit_method", files=METHOD)
        citing = (await ask(client, "forum_post", **POST))["id"]

        async def found(**given: Any) -> list[int]:
            return sorted(post["id"] for post in (await ask(client, "forum_search", query="means", **given))["posts"])

        assert await found() == [1, citing]
        assert await found(kind="result") == await found(author="alice") == await found(submission="s1") == [citing]
        assert await found(author="r1") == [1]
        at = datetime.now(UTC) + timedelta(hours=1)
        assert await found(since=at.isoformat()) == []
        assert await found(until=at.isoformat(timespec="seconds").removesuffix("+00:00")) == [1, citing]
        first = await ask(client, "forum_search", query="means", limit=1)
        second = await ask(client, "forum_search", query="means", limit=1, after=first["next"])
        assert {post["id"] for page in (first, second) for post in page["posts"]} == {1, citing}
        assert second["next"] is None
        await ask(client, "forum_edit", post=citing, retract="Wrong.")
        assert await found() == [1]
        assert await found(retracted=True) == [1, citing]
        assert "kind: Input should be" in await refused(client, "forum_search", query="x", kind="rumour")
        assert "since: Input should be" in await refused(client, "forum_search", query="x", since="yesterday")


async def test_a_client_that_follows_the_changes_has_the_whole_forum(house: House) -> None:
    posts: dict[int, Any] = {}
    comments: dict[int, Any] = {}

    async def follow(client: Any, cursor: int) -> int:
        more = True
        while more:
            page = await ask(client, "forum_changes", since=cursor, limit=2)
            assert all(item["id"] > cursor for item in page["items"])
            posts.update({post["id"]: post for post in page["posts"]})
            comments.update({each["id"]: each for each in page["comments"]})
            cursor, more = page["cursor"], page["more"]
        return int(cursor)

    async with house.served() as address, connected(f"{address}/mcp", house.viewer) as client:
        cursor = await follow(client, 0)
        assert list(posts) == [1]
        with house.db.writing() as session:
            create_comment(session, TOY, R1, 1, "More " + "x" * 900)
            other = create_post(session, TOY, R1, kind="insight", title="Two", body="2").id
            create_comment(session, TOY, R1, other, "And this.")
            retract(session, TOY, R1, other, "Not so.")
            claim_topic(session, TOY, R1, "threes", 1)
        assert await follow(client, cursor) > cursor
        assert {number: post["retraction"] for number, post in posts.items()} == {1: "", other: "Not so."}
        assert [each["begins"][:5] for each in comments.values()] == ["More ", "And t"]
        assert all(len(each["begins"]) <= 300 and "body" not in each for each in [*posts.values(), *comments.values()])
        assert (await ask(client, "forum_changes", since=await follow(client, cursor)))["items"] == []


async def test_a_guest_labels_its_posts_and_asks_for_a_family(house: House) -> None:
    async with house.served() as address, connected(f"{address}/mcp", house.alice) as client:
        made = await ask(client, "forum_post", **POST, families=["Loss function", "other"])
        assert made["families"] == ["loss-function", "other"]
        for tool, given in (("forum_list", {}), ("forum_search", {"query": "means"})):
            found = (await ask(client, tool, **given, family="other"))["posts"]
            assert [(post["id"], post["families"]) for post in found] == [(made["id"], made["families"])]
        await ask(client, "forum_edit", post=made["id"], families=["curriculum"])
        assert (await ask(client, "forum_read", post=made["id"]))["post"]["families"] == ["curriculum"]
        for tool, given in (("forum_post", POST | {"families": ["magic"]}), ("forum_list", {"family": "magic"})):
            assert "known: self-training, ensemble" in await refused(client, tool, **given)
        said = await ask(client, "forum_comment", post=1, body="Mean.")
        why = await refused(client, "forum_edit", post=1, comment=said["id"], families=["other"])
        assert "no families" in why


async def test_a_near_duplicate_is_named(house: House) -> None:
    async with house.served() as address, connected(f"{address}/mcp", house.alice) as client:
        said = {"title": "Averaging teachers beats voting", "body": "Averaging the teachers' logits beats voting."}
        first = await ask(client, "forum_post", kind="insight", **said)
        again = await ask(client, "forum_post", kind="insight", **said | {"title": "Averaging teachers beats votes"})
        assert [each["id"] for each in again["similar"]] == [first["id"]]


async def test_a_guest_has_so_many_posts_an_hour_whichever_way_it_comes_in(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = external_researchers.POSTS_PER_HOUR
    bearer = {"Authorization": f"Bearer {house.alice}"}
    async with (
        house.served() as address,
        connected(f"{address}/mcp", house.alice) as client,
        httpx.AsyncClient() as http,
    ):
        for number in range(most - 1):
            await ask(client, "forum_post", **POST | {"title": f"Number {number}"}, key=str(number))
        url = f"{address}/api/v1/campaigns/{TOY}/posts"
        assert (await http.post(url, json=POST | {"title": "By HTTP"}, headers=bearer)).status_code == 201
        said = await refused(client, "forum_post", **POST)
        assert f"at most {most} an hour" in said
        assert "Try again in 3" in said  # some 3,600 seconds
        late = await http.post(url, json=POST, headers=bearer)
        assert (late.status_code, late.json()["type"]) == (429, "urn:aar:error:TooMany")
        assert 3000 < int(late.headers["retry-after"]) <= 3601
        # what changes nothing, and what is no post, still goes
        assert (await ask(client, "forum_post", **POST | {"title": "Number 0"}, key="0"))["title"] == "Number 0"
        await ask(client, "forum_comment", post=1, body="Still here.")
        assert (await ask(client, "budget"))["your_posts_this_hour"] == {"left": 0, "limit": most}
        with house.db.reading() as session:
            assert len(list_posts(session, TOY)) == most + 1
            log = read_events(session, TOY, researcher_id=f"{TOY}-alice", kinds=("post_created",))
        later = log[0].at + timedelta(hours=1)  # when the first of them falls out
        monkeypatch.setattr(external_researchers, "now", lambda: later)
        await ask(client, "forum_post", **POST)
        assert "too many posts" in await refused(client, "forum_post", **POST)


async def test_all_that_a_guest_writes_in_an_hour_is_bounded_and_nothing_of_a_refusal_stays(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_researchers, "_BOUNDS", (("changes to the forum", external_researchers._WRITES, 3),))
    async with house.served() as address, connected(f"{address}/mcp", house.alice) as client:
        await ask(client, "forum_vote", post=1, value=1)
        await ask(client, "forum_claim", topic="the mean of @r1")
        said = await ask(client, "forum_comment", post=1, body="So it is, @r1.")  # the mention is no write of its own
        for tool, given in (
            ("forum_vote", {"post": 1, "value": -1}),
            ("forum_edit", {"post": 1, "comment": said["id"], "body": "Not so."}),
            ("forum_claim", {"topic": "medians"}),
        ):
            assert "too many changes to the forum" in await refused(client, tool, **given)
        await ask(client, "forum_edit", post=1, comment=said["id"], body="So it is, @r1.")  # changes nothing
    with house.db.writing() as session:
        thread = get_thread(session, TOY, 1)
        assert (thread.post.score, thread.comments[0].body) == (1, "So it is, @r1.")
        assert len(active_claims(session, TOY)) == 1
        for number in range(6):  # those from inside are held back by their turns
            create_comment(session, TOY, R1, 1, str(number))
        external_researchers.check_external_rate(session, R1.researcher_id or "")
        assert external_researchers.remaining_posts(session, R1.researcher_id or "") is None
        create_comment(session, TOY, Author("alice", f"{TOY}-alice"), 1, "One more.")
        with pytest.raises(TooMany):
            external_researchers.check_external_rate(session, f"{TOY}-alice")
        session.rollback()


async def test_calls_that_write_share_the_buckets_of_writes_over_http(house: House) -> None:
    bearer = {"Authorization": f"Bearer {house.alice}"}
    async with house.served(rates=RateLimits(credential=RateLimit(3, 0.001))) as address:
        async with connected(f"{address}/mcp", house.alice) as client:
            for value in (1, -1):
                await ask(client, "forum_vote", post=1, value=value)
            async with httpx.AsyncClient() as http:
                url = f"{address}/api/v1/campaigns/{TOY}/posts/1/vote"
                assert (await http.put(url, json={"value": 1}, headers=bearer)).status_code == 200
                assert (await http.put(url, json={"value": -1}, headers=bearer)).status_code == 429
            said = await refused(client, "forum_vote", post=1, value=-1)
            assert "too many requests: 3 at once" in said
            assert len((await ask(client, "forum_list"))["posts"]) == 1  # reading goes on
        with house.db.reading() as session:
            assert get_thread(session, TOY, 1).post.score == 1
