"""Confirmations, audits and people's decisions: on the pages, through the API, and only by the operator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aar.testing.example_audits import PEOPLE_ONLY
from aar.testing.example_campaign import PART, SECRET

from ..example_copies import ExampleCopies
from .conftest import Site, open_site

pytestmark = pytest.mark.anyio
API = "/api/v1/campaigns/k3v9qd"
CAMPAIGN = "/campaigns/k3v9qd"


@pytest.fixture
def site(example_copies: ExampleCopies, tmp_path: Path) -> Iterator[Site]:
    with open_site(example_copies, tmp_path / "home", audits=True) as made:
        yield made


async def get(site: Site, path: str) -> Any:
    async with site.client(site.viewer) as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json() if path.startswith("/api") else answer.text


async def decide(client: httpx.AsyncClient, number: int, what: str, headers: dict[str, str], **sent: str) -> Any:
    return await client.post(f"{API}/submissions/{number}/{what}", json=sent, headers=headers)


async def test_the_board_sets_confirmed_beside_measured_and_leaves_out_what_fell(site: Site) -> None:
    rows = (await get(site, f"{API}/leaderboard"))["items"]
    board = {row["submission"]["number"]: row for row in rows}
    assert rows[0]["submission"]["status"] == "confirmed"
    assert board[12]["confirmed"]["score"]["mean"] == round(PEOPLE_ONLY, 2)
    assert board[12]["submission"]["mean"] == 0.52
    assert board[10]["labels"] == ["teacher-independent"]
    assert board[14]["confirmed"] is None
    assert not {7, 13} & set(board)
    html = await get(site, CAMPAIGN)
    for part in (
        "Best PGR, confirmed",
        "confirmed 0.47",
        "teacher-independent",
        "static.network",
        "Refuted at",
        "band",
    ):
        assert part in html


async def test_a_submission_is_told_whole(site: Site) -> None:
    found = await get(site, f"{API}/submissions/12")
    assert [each["phase"] for each in found["phases"]][:2] == ["measure", "confirm"]
    phases = {each["phase"]: each for each in found["phases"]}
    assert phases["transfer"]["score"]["mean"] == 0.33
    assert set(phases["transfer"]["domains"]) == {"amazon", "nyt", "tweet"}
    assert {each["audit"]: each["verdict"] for each in found["audits"]} == {
        "static": "passed",
        "teacher": "passed",
        "noise": "passed",
        "reviewer": "skipped",
    }
    assert [each["new"] for each in found["history"]] == ["claimed", "measured", "confirmed"]
    assert all(each["cause"] and each["by"] and each["at"] for each in found["history"])
    assert [each["kind"] for each in found["checks"]] == ["confirmation", "transfer"]
    html = await get(site, f"{CAMPAIGN}/submissions/12")
    for part in ("sealed splits", "labels permuted", "20 % of the teacher", "not reviewed: the", "amazon 0.29"):
        assert part.lower() in html.lower()
    assert "0.56, a little above s14" in await get(site, f"{CAMPAIGN}/submissions/15")
    assert "asked for by human:ana" in await get(site, f"{CAMPAIGN}/submissions/14")


async def test_the_queue_is_in_order(site: Site) -> None:
    found = await get(site, f"{API}/queue")
    assert found["scoring"] == []
    assert [each["number"] for each in found["waiting"]] == [15, 16]
    assert all(each["expected_wait_seconds"] is not None for each in found["waiting"])


async def test_posts_say_how_what_they_cite_stands(site: Site) -> None:
    posts = (await get(site, f"{API}/posts?newest_first=true&researcher=r1"))["items"]
    cited = {each["number"]: each["status"] for each in posts[0]["cites"]}
    assert cited == {7: "refuted", 12: "confirmed", 13: "disqualified"}
    html = await get(site, f"{CAMPAIGN}/posts/{posts[0]['id']}")
    assert f'<a class="pill refuted" href="{CAMPAIGN}/submissions/7">s7 refuted</a>' in html


async def test_nothing_unrounded_or_hidden_is_in_any_of_it(site: Site) -> None:
    async with site.client() as client:
        for path in (
            *(
                f"{API}/{part}"
                for part in (
                    "leaderboard",
                    "submissions",
                    "submissions/10",
                    "submissions/12",
                    "queue",
                    "events?limit=200",
                )
            ),
            *(f"{CAMPAIGN}{part}" for part in ("", "/submissions/10", "/submissions/12", "/submissions/13", "/report")),
        ):
            said = (await client.get(path)).text
            for secret in (str(PEOPLE_ONLY), str(PART), SECRET):
                assert secret not in said, path


async def test_only_the_operator_decides(site: Site) -> None:
    async with site.client() as client:
        for headers, status in (({}, 401), (site.researcher("r2"), 403)):
            for what in ("confirmation", "disqualification", "reinstatement"):
                answer = await decide(client, 6, what, headers, rule="person.leak", reason="because")
                assert answer.status_code == status
        assert (await client.get(f"{API}/submissions/6")).json()["disqualified"] == ""


async def test_off_the_board_and_back_on_the_record(site: Site) -> None:
    async with site.client() as client:
        gone = await decide(
            client, 6, "disqualification", site.operator, rule="person.leak", reason="Reads /proc.", by="bo"
        )
        assert gone.status_code == 200, gone.text
        assert gone.json()["submission"]["disqualified"] == "person.leak"
        assert gone.json()["submission"]["mean"] is None
        numbers = [row["submission"]["number"] for row in (await client.get(f"{API}/leaderboard")).json()["items"]]
        assert 6 not in numbers
        again = await decide(client, 6, "disqualification", site.operator, rule="person.leak", reason="Reads /proc.")
        assert again.status_code == 409
        back = await decide(client, 6, "reinstatement", site.operator, reason="It does not.", by="bo")
        assert back.json()["submission"]["mean"] == 0.40
        history = (await client.get(f"{API}/submissions/6")).json()["history"]
        events = (await client.get(f"{API}/events?kind=status_changed&limit=200")).json()["items"]
    assert [(each["new"], each["by"], each["cause"]) for each in history[-2:]] == [
        ("disqualified", "human:bo", "person.leak: Reads /proc."),
        ("reinstated", "human:bo", "It does not."),
    ]
    assert [each["payload"]["by"] for each in events[-2:]] == ["human:bo", "human:bo"]


async def test_a_confirmation_asked_for_without_a_controller_waits(site: Site) -> None:
    async with site.client() as client:
        asked = await decide(client, 6, "confirmation", site.operator, reason="for the paper", by="bo")
        assert (asked.status_code, asked.json()["heard"]) == (202, False)
        check = (await client.get(f"{API}/submissions/6")).json()["checks"][-1]
        refused = await decide(client, 8, "confirmation", site.operator)
    assert (check["state"], check["by"], check["cause"]) == (
        "queued",
        "human:bo",
        "asked for by human:bo: for the paper",
    )
    assert refused.status_code == 409


@pytest.mark.parametrize(
    "sent",
    [
        {"rule": "", "reason": "x"},
        {"rule": "two words", "reason": "x"},
        {"rule": "a.b", "reason": " "},
        {"rule": "a.b"},
    ],
)
async def test_a_decision_needs_a_rule_and_a_reason(site: Site, sent: dict[str, str]) -> None:
    async with site.client() as client:
        assert (await decide(client, 6, "disqualification", site.operator, **sent)).status_code in (400, 422)
