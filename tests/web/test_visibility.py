"""Who sees what, by every way there is: routes, events, streams, charts and MCP tools, with each role.

Over one campaign with something planted for every kind of secret. What the tables here do not name fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Final, get_args

import httpx
import pytest
from fastapi import FastAPI, routing

from aar.campaign.external_researchers import invite_researcher
from aar.campaign.steering import revoke_token
from aar.events import (
    AnyEvent,
    AuditFinished,
    BlockBegun,
    CheckFinished,
    ContextReset,
    ControlRequested,
    MessageAdded,
    ModelCallFailed,
    SandboxIncident,
    SandboxLost,
    SubmissionMeasured,
    ToolFinished,
    ToolStarted,
    TurnReceived,
)
from aar.events.campaign import Event
from aar.scoring.visibility import EVENT_FIELDS, VISIBLE_DATA, Audience, RestrictedData
from aar.store.event_log import append_event, latest_event_id
from aar.store.models import AuditFinding, Researcher, ScoringRun, StageEstimate, Submission
from aar.web.mcp.tool import admit_client, tool_text

from ..example_copies import ExampleCopies
from .conftest import Site, open_site

pytestmark = pytest.mark.anyio
HERE = "k3v9qd"
OPEN, PEOPLE, LOGIN, FORUM, OPERATOR, FORM = "open", "people", "login", "forum", "operator", "form"
"""Reading: whoever may read at all, or people. The login page. Writing: the forum, the operator, a page's form."""

_C, _P = "/api/v1/campaigns/{campaign_id}", "/campaigns/{campaign_id}"
ROUTES: Final[dict[str, str]] = {
    "GET /api/v1/campaigns": OPEN,
    f"GET {_C}": OPEN,
    f"GET {_C}/researchers": OPEN,
    f"GET {_C}/researchers/{{name}}": OPEN,
    f"GET {_C}/researchers/{{name}}/transcript": PEOPLE,
    f"GET {_C}/researchers/{{name}}/jobs": PEOPLE,
    f"GET {_C}/researchers/{{name}}/files": PEOPLE,
    f"GET {_C}/researchers/{{name}}/files/image": PEOPLE,
    f"GET {_C}/researchers/{{name}}/notebook": PEOPLE,
    f"GET {_C}/posts": OPEN,
    f"GET {_C}/posts/{{post_id}}": OPEN,
    f"GET {_C}/posts/{{post_id}}/history": OPEN,
    f"GET {_C}/forum/changes": OPEN,
    f"GET {_C}/claims": OPEN,
    f"GET {_C}/search": OPEN,
    f"GET {_C}/figures/{{digest}}": OPEN,
    f"GET {_C}/submissions": OPEN,
    f"GET {_C}/submissions/{{number}}": OPEN,
    f"GET {_C}/submissions/{{number}}/record": PEOPLE,
    f"GET {_C}/submissions/{{number}}/diff": PEOPLE,
    f"GET {_C}/submissions/{{number}}/seeds": PEOPLE,
    f"GET {_C}/submissions/{{number}}/seeds.csv": PEOPLE,
    f"GET {_C}/leaderboard": OPEN,
    f"GET {_C}/queue": OPEN,
    f"GET {_C}/costs": OPEN,
    f"GET {_C}/events": OPEN,
    f"GET {_C}/events/stream": OPEN,
    f"GET {_C}/charts/{{name}}": OPEN,
    f"GET {_C}/charts/{{name}}.csv": OPEN,
    f"GET {_C}/alerts": OPEN,
    "GET /api/v1/compare": OPEN,
    "GET /api/v1/openapi.json": OPEN,
    "HEAD /api/v1/openapi.json": OPEN,
    "GET /": OPEN,
    "GET /campaigns": OPEN,
    f"GET {_P}": OPEN,
    f"GET {_P}/report": PEOPLE,
    f"GET {_P}/live": OPEN,
    "GET /compare": OPEN,
    f"GET {_P}/lineage": OPEN,
    f"GET {_P}/posts": OPEN,
    f"GET {_P}/posts/{{post_id}}": OPEN,
    f"GET {_P}/posts/{{post_id}}/edit": OPEN,
    f"GET {_P}/comments/{{comment_id}}/edit": OPEN,
    f"GET {_P}/submissions/{{number}}": OPEN,
    f"GET {_P}/researchers/{{name}}": OPEN,
    f"GET {_P}/researchers/{{name}}/files": PEOPLE,
    "GET /launch": OPEN,
    "GET /login": LOGIN,
    "GET /login/once": LOGIN,
    "POST /login": LOGIN,
    "POST /logout": FORM,
    f"POST {_C}/posts": FORUM,
    f"PATCH {_C}/posts/{{post_id}}": FORUM,
    f"PUT {_C}/posts/{{post_id}}/retraction": FORUM,
    f"PUT {_C}/posts/{{post_id}}/pin": OPERATOR,
    f"POST {_C}/posts/{{post_id}}/comments": FORUM,
    f"PATCH {_C}/posts/{{post_id}}/comments/{{comment_id}}": FORUM,
    f"PUT {_C}/posts/{{post_id}}/comments/{{comment_id}}/retraction": FORUM,
    f"PUT {_C}/posts/{{post_id}}/vote": FORUM,
    f"POST {_C}/claims": FORUM,
    f"PUT {_C}/claims/{{claim_id}}/release": FORUM,
    f"POST {_C}/figures": FORUM,
    f"POST {_C}/controls": OPERATOR,
    f"POST {_C}/limits": OPERATOR,
    f"POST {_C}/team": OPERATOR,
    f"POST {_C}/submissions/{{number}}/confirmation": OPERATOR,
    f"POST {_C}/submissions/{{number}}/disqualification": OPERATOR,
    f"POST {_C}/submissions/{{number}}/reinstatement": OPERATOR,
    "POST /api/v1/campaigns": OPERATOR,
    f"POST {_P}/posts": FORM,
    f"POST {_P}/posts/{{post_id}}": FORM,
    f"POST {_P}/posts/{{post_id}}/vote": FORM,
    f"POST {_P}/posts/{{post_id}}/pin": FORM,
    f"POST {_P}/posts/{{post_id}}/edit": FORM,
    f"POST {_P}/comments/{{comment_id}}/edit": FORM,
    f"POST {_P}/claims/{{claim_id}}/release": FORM,
    f"POST {_P}/steer": FORM,
    f"POST {_P}/limits": FORM,
    f"POST {_P}/team": FORM,
    f"POST {_P}/researchers/{{name}}/steer": FORM,
    f"POST {_P}/submissions/{{number}}/decide": FORM,
    "POST /launch": FORM,
}
"""The table of routes. ``/mcp`` is asked tool by tool."""
PLACES: Final[dict[str, tuple[str, ...]]] = {
    "campaign_id": (HERE,),
    "post_id": ("1", "5"),
    "comment_id": ("1",),
    "claim_id": ("1",),
    "number": ("11", "12", "13"),
    "digest": ("0" * 12,),
    "name": ("r2",),
}
QUESTIONS: Final[dict[str, tuple[str, ...]]] = {
    f"{_C}/researchers/{{name}}/files": ("path=exp/plan.txt", "path="),
    f"{_C}/researchers/{{name}}/files/image": ("path=exp/plan.txt",),
    f"{_P}/researchers/{{name}}/files": ("path=exp/plan.txt", "path="),
    f"{_C}/search": ("q=components", "q=planted"),
    f"{_C}/events": ("limit=200",),
    f"{_C}/leaderboard": ("limit=200",),
    f"{_C}/events/stream": ("once=true", "once=true&brief=true"),
    f"{_C}/submissions": ("limit=200", "researcher=r2"),
    f"{_P}": ("", "over=usd"),
    "/compare": (f"left={HERE}&right={HERE}", ""),
    "/api/v1/compare": (f"left={HERE}&right={HERE}",),
}
"""What follows the ``?``, for routes that need or heed it."""
TOOLS: Final[dict[str, dict[str, Any] | None]] = {
    "forum_list": {},
    "forum_read": {"post": 1},
    "forum_search": {"query": "components"},
    "forum_changes": {},
    "forum_claims": {},
    "leaderboard": {},
    "submission": {"submission": "s11"},
    "submissions": {},
    "snapshot_list": {},
    "snapshot_fetch": {"snapshot": "s12"},
    "budget": {},
    "forum_post": None,
    "forum_comment": None,
    "forum_vote": None,
    "forum_edit": None,
    "forum_claim": None,
    "submit_method": None,
}
"""Every MCP tool with what it is asked; None for those that write."""
WITHHELD, SEALED, DOMAIN, PERMUTED, MEASURED_DOMAIN = 6137.25, 7248.25, 7249.25, 7250.25, 7251.25
PLANTS: Final[dict[RestrictedData, tuple[str, ...]]] = {
    RestrictedData.WITHHELD_SCORES: (f"{WITHHELD}",),
    RestrictedData.SEALED_SCORES: (f"{SEALED}", f"{DOMAIN}", f"{PERMUTED}", f"{MEASURED_DOMAIN}"),
    RestrictedData.EVIDENCE: ("planted-evidence", "planted-reason"),
    RestrictedData.SEEDS: ("918273645", "918273646", "e" * 64),
    RestrictedData.WORKSPACES: ("planted-notebook", "planted-file", "planted-job"),
    RestrictedData.TRANSCRIPTS: (
        *("planted-message", "planted-turn", "planted-result", "planted-about", "planted-doing", "planted-error"),
        *("planted-detail", "planted-words", "planted-block", "planted-lost", "planted-reset"),
    ),
}


def _text(word: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": f"planted-{word}"}]


@pytest.fixture
def site(example_copies: ExampleCopies, tmp_path: Path) -> Iterator[Site]:
    """The example campaign with its closer looks, and something planted for every kind of secret."""
    with open_site(example_copies, tmp_path / "home", audits=True) as made:
        _plant(made)
        yield made


def _plant(made: Site) -> None:
    desk = made.home / "campaigns" / HERE / "workspaces" / "r2"
    (desk / "exp").mkdir(parents=True)
    (desk / "NOTEBOOK.md").write_text("planted-notebook")
    (desk / "exp" / "plan.txt").write_text("planted-file")
    mine = f"{HERE}-r2"
    part = {"standard_error": 0.1, "low": 0.0, "high": 1.0}
    with made.db.writing() as session:
        rows = {each.number: each for each in session.query(Submission).where(Submission.campaign_id == HERE)}
        withheld, sealed = rows[11], rows[12]
        withheld.mean = withheld.low = withheld.high = WITHHELD
        withheld.telling, withheld.verdict = "kept", "s11 measured, number withheld"
        sealed.by_domain = {"amazon": {"mean": MEASURED_DOMAIN, **part}}
        for row in session.query(StageEstimate).where(StageEstimate.submission_id == sealed.id):
            row.mean = SEALED if row.stage == "confirm" else PERMUTED
            row.by_domain = {"amazon": {"mean": DOMAIN, **part}}
        run = session.query(ScoringRun).where(ScoringRun.submission_id == sealed.id).first()
        assert run is not None
        run.seed, run.split_seed, run.output_digest = 918273645, 918273646, "e" * 64
        finding = {"audit": "teacher", "verdict": "passed", "rule": "", "reason": "planted-reason"}
        evidence = {"seen": "planted-evidence"}
        session.add(AuditFinding(campaign_id=HERE, submission_id=sealed.id, evidence=evidence, **finding))
        session.get_one(Researcher, mine).doing = "bash: planted-doing"
        about = {"submission_id": withheld.id, "number": 11}
        planted: list[Event] = [
            SubmissionMeasured(**about, metric="PGR", score=WITHHELD, standard_error=0.1, best=False, told=False),
            CheckFinished(**about, check="confirmation", outcome="confirmed", score=SEALED, standard_error=PERMUTED),
            AuditFinished(**about, **finding),
            MessageAdded(reason="news", content=_text("message")),
            ContextReset(reason="full", content=_text("reset"), kept_turns=1),
            TurnReceived(
                request_id="q", model="m", content=_text("turn"), stop_reason="end_turn", output_tokens=1, usd=0
            ),
            BlockBegun(request_id="q", doing="writes planted-block"),
            ModelCallFailed(request_id="q", error="planted-error"),
            ToolStarted(tool_use_id="t", tool="start_job", about="planted-job planted-about"),
            ToolFinished(
                tool_use_id="t",
                tool="start_job",
                content=[{"type": "text", "text": "Job j1 started.\nplanted-result"}],
                is_error=False,
                seconds=1.0,
            ),
            SandboxIncident(name="r2", incident="time limit", detail="planted-detail"),
            SandboxLost(name="r9", cause="planted-lost"),
            ControlRequested(command="message", argument="planted-words", by="human:ana", researcher="r2"),
        ]
        for each in planted:
            append_event(session, HERE, each, mine)
        append_event(session, HERE, planted[8], mine)  # a job that stands after the sandbox that was lost
        append_event(session, HERE, planted[9], mine)


def _routes(app: FastAPI) -> list[tuple[str, str]]:
    walk = getattr(routing, "iter_route_contexts", iter)  # routers lie nested since FastAPI 0.14x, flat before
    found = [(method, route.path) for route in walk(app.routes) for method in getattr(route, "methods", None) or ()]
    return sorted((method, path) for method, path in found if not path.startswith("/mcp"))


def _addresses(path: str) -> Iterator[str]:
    names = re.findall(r"{(\w+)[^}]*}", path)
    places = PLACES | ({"name": ("score", "diversity", "lineage", "costs")} if "/charts/" in path else {})
    for values in product(*(places[name] for name in names)):
        made = path
        for name, value in zip(names, values, strict=True):
            made = re.sub(rf"{{{name}[^}}]*}}", value, made)
        for question in QUESTIONS.get(path, ("",)):
            yield f"{made}?{question}" if question else made


def _guest(site: Site) -> str:
    with site.db.writing() as session:
        return invite_researcher(session, HERE, "alice")


async def _crawl(site: Site, headers: dict[str, str]) -> dict[str, tuple[int, str]]:
    """Every address that is read, with its answer; event pages and streams to their end."""
    found: dict[str, tuple[int, str]] = {}
    async with site.client(headers) as client:
        for method, path in _routes(client._transport.app):  # type: ignore[attr-defined]
            if method != "GET" or path.endswith("/live"):
                continue
            for address in _addresses(path):
                answer = await client.get(address)
                found[address] = (answer.status_code, answer.text)
                while path == f"{_C}/events" and answer.status_code == 200 and answer.json()["next_cursor"]:
                    address = f"{path.format(campaign_id=HERE)}?limit=200&after={answer.json()['next_cursor']}"
                    answer = await client.get(address)
                    found[address] = (answer.status_code, answer.text)
    return found


async def _live(site: Site, headers: dict[str, str]) -> str:
    """What an open page hears, up to the newest event."""
    with site.db.reading() as session:
        newest = latest_event_id(session, HERE)
    heard = ""
    async with (
        site.served() as address,
        httpx.AsyncClient(base_url=address, headers=headers) as client,
        client.stream("GET", f"/campaigns/{HERE}/live") as answer,
    ):
        if answer.status_code != 200:
            return ""
        async for line in answer.aiter_lines():
            heard += line + "\n"
            if f"id: {newest}\n" in heard and line.startswith("data:"):
                return heard
    raise AssertionError("the stream ended before its newest event")


async def _tools(site: Site, token: str | None) -> str:
    """What every reading MCP tool answers."""
    from aar.web.mcp.server import BRIEF, read_resource
    from aar.web.mcp.server import TOOLS as REAL

    assert set(REAL) == set(TOOLS), "a tool without a line in TOOLS"
    assert {name for name, tool in REAL.items() if tool.writes} == {
        name for name, asked in TOOLS.items() if asked is None
    }
    caller = admit_client(site.app().state.aar, token, HERE)
    said = [await read_resource(caller, BRIEF), await read_resource(caller, "aar://posts/1")]
    for name, asked in TOOLS.items():
        if asked is not None:
            said.append(tool_text(await REAL[name].run(caller, REAL[name].parse(asked))))
    return "\n".join(said)


def _roles(site: Site) -> dict[Audience, dict[str, str]]:
    return {
        Audience.NOBODY: {},
        Audience.GUEST: {"Authorization": f"Bearer {_guest(site)}"},
        Audience.RESEARCHER: site.researcher("r1"),
        Audience.VIEWER: site.viewer,
        Audience.OPERATOR: site.operator,
    }


def test_every_route_has_its_line_in_the_table(site: Site) -> None:
    assert {f"{method} {path}" for method, path in _routes(site.app())} == set(ROUTES)


def test_every_kind_of_event_has_its_line_in_the_table() -> None:
    kinds = {kind.model_fields["kind"].default: kind for kind in get_args(get_args(AnyEvent)[0])}
    assert set(kinds) == set(EVENT_FIELDS)
    for kind, hidden in EVENT_FIELDS.items():
        assert set(hidden) <= set(kinds[kind].model_fields), kind


def test_nobody_but_people_sees_anything_that_is_secret() -> None:
    assert {who for who in Audience if VISIBLE_DATA[who]} == {Audience.VIEWER, Audience.OPERATOR}
    assert VISIBLE_DATA[Audience.OPERATOR] == set(RestrictedData)
    assert VISIBLE_DATA[Audience.VIEWER] == set(RestrictedData) - {RestrictedData.SEEDS}


@pytest.mark.parametrize("who", list(Audience))
async def test_each_role_sees_what_the_table_says_by_every_way(site: Site, who: Audience) -> None:
    headers = _roles(site)[who]
    if who is Audience.NOBODY:  # while no guest is invited
        with site.db.writing() as session:
            revoke_token(session, HERE, "alice")
    found = await _crawl(site, headers)
    for method, path in _routes(site.app()):
        if method != "GET" or path.endswith("/live"):
            continue
        for address in _addresses(path):
            status = found[address][0]
            if ROUTES[f"GET {path}"] == PEOPLE and not who.is_person:
                assert status == (401 if who is Audience.NOBODY else 403), (who, address)
            elif path != "/login/once":
                assert status not in (401, 403, 500), (who, address, status, found[address][1][:300])
    token = headers.get("Authorization", "").removeprefix("Bearer ") or None
    pages = "\n".join(f"=== {address}\n{text}" for address, (_, text) in found.items())
    for way, said in (("routes", pages), ("live", await _live(site, headers)), ("tools", await _tools(site, token))):
        for secret, plants in PLANTS.items():
            for plant in plants:
                if way == "tools" or secret not in VISIBLE_DATA[who]:
                    assert plant not in said, (who, way, secret, _around(said, plant))
                elif way == "routes":
                    assert plant in said, (who, way, secret, plant)
    for address, (status, text) in found.items():
        if status == 403 and address.startswith("/api/"):
            assert not re.search("leave.*out|operator|log in|loopback", text, re.IGNORECASE), text


def _around(said: str, plant: str) -> str:
    at = said.index(plant)
    return (
        said[max(0, said.rindex("===", 0, at) if "===" in said[:at] else 0) :][:80] + " … " + said[at - 200 : at + 50]
    )


async def test_without_a_token_nothing_is_read_while_a_guest_is_invited(site: Site) -> None:
    _guest(site)
    for address, (status, _) in (await _crawl(site, {})).items():
        if not address.startswith("/login"):
            assert status == 401, address
    assert await _live(site, {}) == ""


async def test_each_write_is_for_whom_the_table_says(site: Site) -> None:
    roles = _roles(site)
    async with site.client() as client:
        for line, access in ROUTES.items():
            method, path = line.split()
            if method in ("GET", "HEAD") or access == LOGIN:
                continue
            address = next(_addresses(path))
            for who in (Audience.NOBODY, Audience.VIEWER, Audience.GUEST, Audience.RESEARCHER):
                form = {"data": {}} if access == FORM else {"json": {"pinned": True} if path.endswith("/pin") else {}}
                status = (await client.request(method, address, headers=roles[who], **form)).status_code  # type: ignore[arg-type]
                if access == FORM or who is Audience.NOBODY:
                    assert status == 401, (line, who, status)
                elif who is Audience.VIEWER or access == OPERATOR:
                    assert status == 403, (line, who, status)
                else:
                    assert status not in (401, 500), (line, who, status)


async def test_a_guests_rows_are_marked(site: Site) -> None:
    _guest(site)
    with site.db.writing() as session:
        row = session.query(Submission).where(Submission.campaign_id == HERE, Submission.number == 14).one()
        before, row.researcher_id = row.researcher_id, f"{HERE}-alice"
    try:
        async with site.client(site.viewer) as client:
            board = (await client.get(f"/api/v1/campaigns/{HERE}/leaderboard")).json()["items"]
            assert {each["submission"]["number"] for each in board if each["submission"]["outside"]} == {14}
            team = (await client.get(f"/api/v1/campaigns/{HERE}/researchers")).json()["items"]
            assert [each["name"] for each in team if each["outside"]] == ["alice"]
            for page in (f"/campaigns/{HERE}", f"/campaigns/{HERE}/submissions/14"):
                assert '<span class="pill">external</span>' in (await client.get(page)).text
    finally:
        with site.db.writing() as session:
            session.query(Submission).where(Submission.number == 14).one().researcher_id = before
