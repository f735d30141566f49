"""Writing through the API: who may, as whom, and what nobody may."""

from __future__ import annotations

import json

import pytest

from aar.forum.views import MAX_BODY
from aar.redteam.campaign_rows import add_campaign
from aar.web.app import create_app

from .conftest import Site

pytestmark = pytest.mark.anyio
API = "/api/v1/campaigns/k3v9qd"
POST = {"kind": "result", "title": "It works", "body": "It does."}


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer aar_wrong"}, {"Authorization": "Basic YTpi"}])
async def test_writing_without_a_token_that_was_given_out_is_refused(site: Site, headers: dict[str, str]) -> None:
    async with site.client() as client:
        for path, sent in (("posts", POST), ("posts/1/comments", {"body": "x"}), ("controls", {"command": "stop"})):
            answer = await client.post(f"{API}/{path}", json=sent, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["remedy"]


async def test_a_researcher_writes_as_itself(site: Site) -> None:
    async with site.client() as client:
        made = (await client.post(f"{API}/posts", json=POST, headers=site.researcher("r3"))).json()
        assert (made["author"], made["researcher_id"], made["by_human"]) == ("r3", "k3v9qd-r3", False)
        forged = await client.post(f"{API}/posts", json={**POST, "author": "r1"}, headers=site.researcher("r3"))
        assert forged.status_code == 403
        vote = await client.put(f"{API}/posts/{made['id']}/vote", json={"value": 1}, headers=site.researcher("r1"))
        again = await client.put(f"{API}/posts/{made['id']}/vote", json={"value": 1}, headers=site.researcher("r1"))
    assert vote.json()["score"] == again.json()["score"] == 1


async def test_a_researcher_writes_in_its_own_campaign_only(site: Site) -> None:
    with site.db.writing() as session:
        add_campaign(session, "other2", 1)
    async with site.client() as client:
        answer = await client.post("/api/v1/campaigns/other2/posts", json=POST, headers=site.researcher("r1"))
        assert answer.status_code == 403
        assert (await client.get("/api/v1/campaigns/other2/posts")).json()["items"] == []


async def test_a_researcher_does_not_steer(site: Site) -> None:
    async with site.client() as client:
        answer = await client.post(f"{API}/controls", json={"command": "pause"}, headers=site.researcher("r1"))
    assert answer.status_code == 403


async def test_a_person_writes_under_a_name_that_no_researcher_can_have(site: Site) -> None:
    async with site.client() as client:
        made = (await client.post(f"{API}/posts", json={**POST, "author": "r1"}, headers=site.operator)).json()
        comment = await client.post(f"{API}/posts/{made['id']}/comments", json={"body": "Hm."}, headers=site.operator)
        thread = (await client.get(f"{API}/posts/{made['id']}")).json()
    assert (made["author"], made["by_human"], made["researcher_id"]) == ("human:r1", True, None)
    assert comment.status_code == 201
    assert thread["comments"][0]["author"] == "human:operator"


async def test_the_same_idempotency_key_writes_once(site: Site) -> None:
    headers = {**site.researcher("r2"), "Idempotency-Key": "toolu_1"}
    async with site.client() as client:
        first = await client.post(f"{API}/posts", json=POST, headers=headers)
        second = await client.post(f"{API}/posts", json=POST, headers=headers)
    assert first.json()["id"] == second.json()["id"]


async def test_a_post_that_is_too_long_is_refused_with_the_limit(site: Site) -> None:
    async with site.client() as client:
        answer = await client.post(f"{API}/posts", json={**POST, "body": "x" * (MAX_BODY + 1)}, headers=site.operator)
    assert answer.status_code == 400
    assert f"{MAX_BODY:,}" in answer.json()["detail"]


async def test_the_operator_pauses_a_campaign_on_the_record(site: Site) -> None:
    with site.db.writing() as session:
        add_campaign(session, "pause2", 1)
    path = "/api/v1/campaigns/pause2"
    async with site.client() as client:
        unknown = await client.post(f"{path}/controls", json={"command": "dance"}, headers=site.operator)
        sent = {"command": "pause", "argument": "lunch", "by": "ana"}
        answer = await client.post(f"{path}/controls", json=sent, headers=site.operator)
        events = (await client.get(f"{path}/events", headers=site.viewer)).json()["items"]
        state = (await client.get(path)).json()["state"]
    assert unknown.status_code == 400
    assert (answer.status_code, answer.json()["heard"], state) == (202, False, "paused")
    assert events[-1]["payload"] == {
        "command": "pause",
        "argument": "lunch",
        "by": "human:ana",
        "researcher": "",
    }


async def test_no_way_to_write_touches_a_score(site: Site) -> None:
    """Over the whole description: only posts, controls and people's decisions are written, and no field is a result."""
    described = create_app(site.db, home=site.home).openapi()
    writes = {
        (method, path): operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if method != "get"
    }
    assert {path.rpartition("{campaign_id}/")[2] for _, path in writes} == {
        "posts",
        "posts/{post_id}/comments",
        "posts/{post_id}/vote",
        "posts/{post_id}",
        "posts/{post_id}/comments/{comment_id}",
        "posts/{post_id}/retraction",
        "posts/{post_id}/comments/{comment_id}/retraction",
        "posts/{post_id}/pin",
        "figures",
        "claims",
        "claims/{claim_id}/release",
        "controls",
        "limits",
        "team",
        "/api/v1/campaigns",
        "submissions/{number}/confirmation",
        "submissions/{number}/disqualification",
        "submissions/{number}/reinstatement",
    }
    for operation in writes.values():
        if "image/png" in operation["requestBody"]["content"]:
            continue  # bytes, and no field
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        schema = described["components"]["schemas"][reference]
        assert schema["additionalProperties"] is False
        fields = json.dumps(sorted(schema["properties"]))
        for word in ("score", "mean", "status", "state", "verdict", "result", "rank", "error"):
            assert word not in fields


async def test_no_other_method_writes(site: Site) -> None:
    async with site.client() as client:
        for path in (f"{API}/submissions/14", f"{API}/leaderboard", API, f"{API}/costs"):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                answer = await client.request(method, path, json={"mean": 0.99}, headers=site.operator)
                assert answer.status_code == 405
                assert answer.headers["content-type"] == "application/problem+json"
        assert (await client.get(f"{API}/submissions/14")).json()["mean"] == 0.55


@pytest.mark.parametrize("hours", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_a_number_in_a_body_is_finite(site: Site, hours: str) -> None:
    body = f'{{"topic": "probes", "hours": {hours}}}'
    headers = {**site.researcher("r1"), "Content-Type": "application/json"}
    async with site.client() as client:
        answer = await client.post(f"{API}/claims", content=body, headers=headers)
        good = await client.post(f"{API}/claims", json={"topic": "probes", "hours": 1.5}, headers=headers)
    assert (answer.status_code, good.status_code) == (422, 201)
    assert [each["where"] for each in answer.json()["errors"]] == ["body.hours"]


@pytest.mark.parametrize("name", ["usd", "hours", "researcher.usd"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", '"NaN"', '"inf"'])
async def test_a_limit_is_finite(site: Site, name: str, value: str) -> None:
    headers = {**site.operator, "Content-Type": "application/json"}
    async with site.client() as client:
        answer = await client.post(f"{API}/limits", content=f'{{"limits": {{"{name}": {value}}}}}', headers=headers)
        good = await client.post(f"{API}/limits", json={"limits": {name: 1000}}, headers=headers)
    assert (answer.status_code, good.status_code) in {(422, 202), (400, 202)}, answer.text
    assert name.rpartition(".")[2] in answer.text


async def test_campaigns_are_paged_where_they_are(site: Site) -> None:
    with site.db.writing() as session:
        for number in range(3):
            add_campaign(session, f"more{number}", 1)
    async with site.client() as client:
        every = (await client.get("/api/v1/campaigns?limit=100")).json()["items"]
        pages, after = [], 0
        while after is not None:
            page = (await client.get(f"/api/v1/campaigns?limit=1&after={after}")).json()
            pages, after = pages + page["items"], page["next_cursor"]
        beyond = (await client.get("/api/v1/campaigns?after=100000")).json()
    assert [each["id"] for each in pages] == [each["id"] for each in every]
    assert len(every) >= 4
    assert (beyond["items"], beyond["next_cursor"]) == ([], None)
