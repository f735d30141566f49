"""A researcher's token writes as itself, in its campaign; nothing else writes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from mcp.shared.exceptions import MCPError

from aar.auth.tokens import operator_token
from aar.campaign.external_researchers import invite_researcher
from aar.campaign.steering import revoke_token
from aar.forum.posts import get_thread
from aar.forum.search import list_posts
from aar.scoring.submissions import get_submission, list_submissions
from aar.store.models import Campaign

from .conftest import METHOD, OTHER, TOY, House, ask, connected, refused

pytestmark = pytest.mark.anyio
POST = {"kind": "result", "title": "Means suffice", "body": "They do."}


def posts(house: House, campaign: str) -> list[Any]:
    with house.db.reading() as session:
        return list_posts(session, campaign)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_researcher_posts_comments_and_votes_as_itself(house: House, mode: str) -> None:
    async with house.served() as address, connected(f"{address}/mcp", house.alice, mode) as client:
        made = await ask(client, "forum_post", **POST, key="once")
        again = await ask(client, "forum_post", **POST, key="once")
        await ask(client, "forum_comment", post=1, body="I see the same.")
        voted = await ask(client, "forum_vote", post=1, value=1)
        assert "your own" in await refused(client, "forum_vote", post=made["id"], value=1)
    assert made["id"] == again["id"]
    assert voted["score"] == 1
    assert [(post.author, post.researcher_id) for post in posts(house, TOY)][1:] == [("alice", f"{TOY}-alice")]
    with house.db.reading() as session:
        assert [comment.author for comment in get_thread(session, TOY, 1).comments] == ["alice"]


async def test_a_watcher_writes_nothing(house: House) -> None:
    async with house.served() as address:
        for token in (house.viewer, operator_token(house.home)):
            async with connected(f"{address}/mcp", token) as client:
                assert "needs a researcher's token" in await refused(client, "forum_post", **POST)
                assert "needs a researcher's token" in await refused(client, "forum_vote", post=1, value=1)
                assert "needs a researcher's token" in await refused(client, "submit_method", files=METHOD)
    assert len(posts(house, TOY)) == 1


async def test_a_token_holds_in_its_own_campaign_only(house: House) -> None:
    async with house.served() as address:
        async with connected(f"{address}/mcp", house.bob) as client:  # the token says which campaign is meant
            await ask(client, "forum_post", **POST)
        assert [post.author for post in posts(house, OTHER)] == ["r1", "bob"]
        for campaign, token in ((OTHER, house.alice), (TOY, house.bob)):
            why = f"this token works in campaign {TOY if campaign == OTHER else OTHER} only"
            with pytest.RaisesGroup(pytest.RaisesExc(MCPError, match=why), flatten_subgroups=True):
                async with connected(f"{address}/mcp/{campaign}", token) as client:
                    await client.list_tools()
            async with httpx.AsyncClient() as http:
                answer = await http.post(
                    f"{address}/mcp/{campaign}", json={}, headers={"Authorization": f"Bearer {token}"}
                )
                assert answer.status_code == 403
                assert why in answer.json()["error"]["message"]
    assert len(posts(house, TOY)) == 1


async def test_a_method_is_queued_like_any_other(house: House) -> None:
    async with house.served() as address, connected(f"{address}/mcp", house.alice) as client:
        made = await ask(client, "submit_method", files=METHOD, key="first")
        again = await ask(client, "submit_method", files=METHOD, key="first")
        assert made == again | {"state": made["state"]}
        assert (made["submission"], made["state"]) == ("s1", "queued")
        seen = await ask(client, "submission", submission="s1")
        assert (seen["researcher_name"], seen["state"], seen["title"]) == ("alice", "queued", "The mean again")
        assert [
            each["submission"] for each in (await ask(client, "submissions", researcher="alice"))["submissions"]
        ] == ["s1"]
        assert (await ask(client, "leaderboard"))["rows"] == []
        left = await ask(client, "budget")
        assert left["submissions"] == {"handed_in": 1, "limit": 2}
        assert left["your_submissions"]["handed_in"] == 1
    with house.db.reading() as session:
        found = get_submission(session, TOY, 1)
    assert found.digest == made["digest"]
    assert (house.home / "campaigns" / TOY / "snapshots" / "manifests" / found.digest).is_file()


async def test_quotas_hold(house: House) -> None:
    async with house.served() as address, connected(f"{address}/mcp", house.alice) as client:
        for number in (1, 2):
            await ask(client, "submit_method", files=METHOD | {"run.py": f"print({number})\n"})
        assert "submissions" in await refused(client, "submit_method", files=METHOD)
        assert "submissions" in await refused(client, "submit_method", files=METHOD, key="more")
    with house.db.reading() as session:
        assert len(list_submissions(session, TOY)) == 2


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"run.py": "1"}, "no method.yaml"),
        (METHOD | {"method.yaml": "title: x\n"}, "claim is missing"),
        (METHOD | {"../evil.py": "1"}, "leaves its directory"),
        (METHOD | {"/etc/evil.py": "1"}, "leaves its directory"),
        (METHOD | {"run.py/x": "1"}, "both a file and a folder"),
        (METHOD | {"x" * 400: "1"}, "cannot be a file's name"),
        (METHOD | {"big.txt": "x" * 1_000_001}, "at most 1,000,000"),
        (METHOD | {f"f{number}": "" for number in range(100)}, "at most 100 items"),
    ],
)
async def test_a_method_that_does_not_hold_is_refused_with_a_reason(
    house: House, files: dict[str, str], said: str
) -> None:
    async with house.served() as address, connected(f"{address}/mcp", house.alice) as client:
        assert said in await refused(client, "submit_method", files=files)
    with house.db.reading() as session:
        assert list_submissions(session, TOY) == []


async def test_nothing_is_taken_once_the_campaign_is_over(house: House) -> None:
    with house.db.writing() as session:
        session.get_one(Campaign, TOY).state = "finished"
    async with house.served() as address, connected(f"{address}/mcp", house.alice) as client:
        assert "it accepts no submissions" in await refused(client, "submit_method", files=METHOD)


async def test_a_token_ends_when_it_is_taken_back_or_replaced(house: House) -> None:
    async with house.served() as address, httpx.AsyncClient() as http:

        async def status(token: str) -> int:
            answer = await http.post(f"{address}/mcp", json={}, headers={"Authorization": f"Bearer {token}"})
            return answer.status_code

        assert await status(house.alice) not in (401, 403)
        with house.db.writing() as session:
            fresh = invite_researcher(session, TOY, "alice")
        assert await status(house.alice) == 401
        assert await status(fresh) not in (401, 403)
        with house.db.writing() as session:
            revoke_token(session, TOY, "alice")
        assert await status(fresh) == 401
