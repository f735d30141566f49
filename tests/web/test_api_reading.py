"""Reading through the API: typed, paged, problem details for what is not there, nothing hidden let out."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from aar.readmodels.formatting import OFFLINE_LABEL
from aar.testing.example_campaign import PART, SECRET

from .conftest import Site

pytestmark = pytest.mark.anyio
API = "/api/v1/campaigns/k3v9qd"


async def get(site: Site, path: str, who: dict[str, str] | None = None, status: int = 200) -> Any:
    async with site.client(who) as client:
        answer = await client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_campaign_tells_its_metric_its_best_and_what_its_researchers_are(site: Site) -> None:
    found = await get(site, API)
    assert found["metric"]["name"] == "PGR"
    assert found["best"]["number"] == 14
    assert found["offline"] is True
    assert found["models"] == [OFFLINE_LABEL]


async def test_the_spec_comes_without_its_seed(site: Site) -> None:
    spec = (await get(site, API))["spec"]
    assert spec["limits"]["submissions"] == 14
    assert "seed" not in spec


async def test_a_campaign_is_found_by_its_beginning_and_as_the_latest(site: Site) -> None:
    assert (await get(site, "/api/v1/campaigns/k3v"))["id"] == "k3v9qd"
    assert (await get(site, "/api/v1/campaigns/latest"))["id"] == "k3v9qd"
    assert [each["id"] for each in (await get(site, "/api/v1/campaigns"))["items"]] == ["k3v9qd"]


@pytest.mark.parametrize("path", ["submissions", "posts", "events"])
async def test_cursors_walk_the_whole_list_once(site: Site, path: str) -> None:
    whole = (await get(site, f"{API}/{path}?limit=200"))["items"]
    key = "number" if path == "submissions" else "id"
    cursor, walked, size = 0, [], len(whole) // 3 or 1
    while cursor is not None:
        found = await get(site, f"{API}/{path}?limit={size}&after={cursor}")
        walked += found["items"]
        cursor = found["next_cursor"]
    assert [each[key] for each in walked[: len(whole)]] == [each[key] for each in whole]
    assert len({each[key] for each in walked}) == len(walked)


async def test_the_transcript_walks_backwards_from_the_newest(site: Site) -> None:
    newest = await get(site, f"{API}/researchers/r2/transcript?limit=2", site.viewer)
    earlier = await get(site, f"{API}/researchers/r2/transcript?limit=2&before={newest['next_cursor']}", site.viewer)
    assert [each["who"] for each in earlier["items"] + newest["items"]] == ["controller", "researcher", "tool"]
    assert earlier["next_cursor"] is None
    assert newest["items"][0]["blocks"][2]["text"].startswith("python run.py")


async def test_a_submission_comes_with_its_frozen_code(site: Site) -> None:
    found = await get(site, f"{API}/submissions/14")
    files = {each["path"]: each for each in found["files"]}
    assert next(iter(files)) == "run.py"
    assert "import numpy" in files["run.py"]["text"]
    assert files["weights.bin"]["text"] is None
    assert files["weights.bin"]["size_bytes"] == 256


async def test_the_leaderboard_is_in_order_and_leaves_the_rejected_out(site: Site) -> None:
    rows = (await get(site, f"{API}/leaderboard"))["items"]
    bands = [row["band"] for row in rows]
    assert bands == sorted(bands)
    tops = [max(row["submission"]["mean"] for row in rows if row["band"] == band) for band in sorted(set(bands))]
    assert tops == sorted(tops, reverse=True)
    assert 8 not in [row["submission"]["number"] for row in rows]


async def test_costs_stand_beside_the_public_figure(site: Site) -> None:
    found = await get(site, f"{API}/costs")
    assert found["public_usd_per_agent_hour"] == "22"
    parts = sum(float(each["usd"]) for each in found["researchers"].values())
    assert float(found["campaign"]["usd"]) == pytest.approx(parts)
    assert found["campaign"]["tokens"]["output_tokens"] == 4 * 4200


async def test_search_takes_any_text(site: Site) -> None:
    assert (await get(site, f"{API}/search?q=components"))["items"][0]["id"] == 1
    async with site.client() as client:
        for text in ('"', "NEAR(", "a OR", "\0", "(((", "*"):
            assert (await client.get(f"{API}/search", params={"q": text})).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/api/v1/campaigns/zzz", f"{API}/posts/999", f"{API}/submissions/999", f"{API}/researchers/r9", "/api/v1/nothing"],
)
async def test_what_is_not_there_is_a_404_with_problem_details(site: Site, path: str) -> None:
    async with site.client() as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    details = answer.json()
    assert details["status"] == 404
    assert details["detail"]


async def test_an_invalid_request_names_the_field(site: Site) -> None:
    details = await get(site, f"{API}/posts?limit=0", status=422)
    assert details["errors"][0]["where"] == "query.limit"


async def test_nothing_hidden_leaves_through_any_answer(site: Site) -> None:
    with site.db.engine.connect() as connection:
        hashes = [row[0] for row in connection.exec_driver_sql("SELECT token_hash FROM researcher")]
        seeds = [str(row[0]) for row in connection.exec_driver_sql("SELECT split_seed FROM scoring_run LIMIT 20")]
    assert all(hashes)
    hidden = [SECRET, str(PART), "method.parts", *hashes, *seeds, *site.example.tokens.values()]
    hidden.append(site.operator["Authorization"].split()[1])
    seen = 0
    async with site.client() as client:
        for path in await _every_address(client):
            answer = await client.get(path)
            assert answer.status_code < 500, path
            seen += 1
            assert not [secret for secret in hidden if secret in answer.text], path
    assert seen > 60


async def _every_address(client: httpx.AsyncClient) -> list[str]:
    """Every GET of the API with every id there is, every page, and the stream."""
    paths = (await client.get("/api/v1/openapi.json")).json()["paths"]
    names = {
        "campaign_id": ["k3v9qd"],
        "name": ["r1", "r2", "r3", "r4"],
        "post_id": range(1, 6),
        "number": range(1, 15),
    }
    found = [path for path, methods in paths.items() if "get" in methods]
    for name, values in names.items():
        found = [path.replace(f"{{{name}}}", str(value)) for path in found for value in values]
    found = list(dict.fromkeys(found))
    pages = [path.removeprefix("/api/v1") for path in found if not path.endswith(("/stream", "/transcript", "/search"))]
    found = [f"{path}?q=the" if path.endswith("/search") else path for path in found]
    return [
        f"{path}?once=true" if path.endswith("/stream") else path
        for path in [*found, *pages, f"{pages[0]}/k3v9qd/report"]
    ]
