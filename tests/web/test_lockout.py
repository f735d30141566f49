"""People are not locked out: by guesses or floods from their own address, by other sites, or by slow work."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest

from aar.auth.sessions import LOGIN_LINK_SECONDS, EndedSessions, Role, SessionStore, open_sessions
from aar.auth.tokens import operator_token
from aar.campaign.external_researchers import invite_researcher
from aar.web.app_state import IdempotencyCache
from aar.web.middleware import AuditLog
from aar.web.rate_limit import RateLimit, RateLimits

from .conftest import Site
from .person import Person

pytestmark = pytest.mark.anyio
API = "/api/v1/campaigns/k3v9qd"
GUESS = {"Authorization": "Bearer aar_guess"}
TIGHT = RateLimits(
    login=RateLimit(2, 0.001), refused=RateLimit(2, 0.001), address=RateLimit(2, 0.001), noted=RateLimit(3, 0.001)
)


async def test_guesses_from_the_same_address_stop_nobody_who_is_known(site: Site) -> None:
    with site.db.writing() as session:
        guest = {"Authorization": f"Bearer {invite_researcher(session, 'k3v9qd', 'alice')}"}
    post = {"kind": "result", "title": "t", "body": "b"}
    async with site.client(rates=TIGHT) as client:
        ana = Person(client)
        await ana.log_in(operator_token(site.home))
        cookies = dict(client.cookies)
        client.cookies.clear()
        codes = [(await client.get("/campaigns", headers=GUESS)).status_code for _ in range(5)]
        codes += [(await client.post(f"{API}/posts", json=post, headers=GUESS)).status_code for _ in range(2)]
        assert codes == [401, 401, 429, 429, 429, 429, 429]
        writes = [(await client.post(f"{API}/posts", json=post)).status_code for _ in range(4)]
        assert writes == [401, 401, 429, 429]
        tries = [(await client.post("/login", data={"token": "aar_guess"})).status_code for _ in range(4)]
        assert tries == [401, 401, 429, 429]
        for headers in (site.researcher("r1"), guest):
            assert (await client.get(f"{API}/leaderboard", headers=headers)).status_code == 200
            assert (await client.post(f"{API}/posts", json=post, headers=headers)).status_code == 201
        for headers in (site.operator, site.viewer):
            assert (await client.get(f"{API}/submissions/12/record", headers=headers)).status_code == 200
        said = {"command": "message", "argument": "x", "researcher": "r1"}
        assert (await client.post(f"{API}/controls", json=said, headers=site.operator)).status_code == 202
        client.cookies.update(cookies)
        assert (await client.get("/campaigns/k3v9qd/report")).status_code == 200
        client.cookies.clear()
        await ana.log_in(operator_token(site.home))  # though the tries of this address are used up


async def test_what_another_site_sends_uses_up_nothing(site: Site) -> None:
    async with site.client(rates=TIGHT) as client:
        for _ in range(20):
            for path in ("/login", f"{API}/controls"):
                answer = await client.post(path, headers={"Sec-Fetch-Site": "cross-site"})
                assert answer.status_code == 403
        assert (await client.post("/login", data={"token": "aar_guess"})).status_code == 401
        await Person(client).log_in(operator_token(site.home))


async def test_each_token_and_login_has_a_bucket_of_its_own(site: Site) -> None:
    post = {"kind": "result", "title": "t", "body": "b"}
    async with site.client(rates=RateLimits(credential=RateLimit(2, 0.001))) as client:
        for who in (site.researcher("r1"), site.researcher("r2"), site.operator):
            codes = [(await client.post(f"{API}/posts", json=post, headers=who)).status_code for _ in range(3)]
            assert codes == [201, 201, 429]


async def test_a_flood_of_refusals_leaves_a_few_lines_and_no_accepted_one_is_pushed_out(site: Site) -> None:
    async with site.client(rates=TIGHT) as client:
        await Person(client).log_in(operator_token(site.home))
        client.cookies.clear()
        for _ in range(50):
            await client.post(f"{API}/controls", json={}, headers=GUESS)
        for _ in range(2):  # a known one's refusals have a bound of their own
            await client.post(f"{API}/controls", json={}, headers=site.researcher("r1"))
    accepted = (site.home / "audit.log").read_text().splitlines()
    refused = [json.loads(line) for line in (site.home / "audit-refused.log").read_text().splitlines()]
    assert [json.loads(line)["who"] for line in accepted] == ["operator ana"]
    assert [line["who"] for line in refused] == ["", "", "", "researcher k3v9qd-r1", "researcher k3v9qd-r1"]
    assert sum(line.get("left_out", 0) for line in refused) == 47


async def test_each_file_of_the_audit_log_is_bounded_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aar.web.middleware._MOST_LOG_BYTES", 2000)
    log = AuditLog(tmp_path)
    log.write(status=303, method="POST", path="/login", who="operator ana", address="1.2.3.4")
    for _ in range(200):
        log.write(status=401, method="POST", path="/login", who="", address="1.2.3.4")
    assert len((tmp_path / "audit.log").read_text().splitlines()) == 1
    assert (tmp_path / "audit-refused.log").stat().st_size < 2500
    assert (tmp_path / "audit-refused.log.1").stat().st_size < 2500


async def test_a_login_that_was_ended_stays_ended_after_a_restart_and_on_other_servers(site: Site) -> None:
    async with site.client() as client, site.client() as other:
        await Person(client).log_in(operator_token(site.home))
        cookie = dict(client.cookies)
        other.cookies.update(cookie)
        assert (await other.get("/campaigns/k3v9qd/report")).status_code == 200
        page = await client.get("/campaigns")
        csrf = page.text.split('name="csrf" value="')[1].split('"')[0]
        assert (await client.post("/logout", data={"csrf": csrf})).status_code == 303
        assert (await other.get("/campaigns/k3v9qd/report")).status_code == 401
    async with site.client() as restarted:
        restarted.cookies.update(cookie)
        assert (await restarted.get("/campaigns/k3v9qd/report")).status_code == 401


def test_ended_logins_are_kept_until_they_would_have_ended_and_no_longer(tmp_path: Path) -> None:
    now = [1000.0]
    ended = EndedSessions(tmp_path, lambda: now[0])
    ended.add("first", 2000)
    now[0] = 1999.0
    ended.add("second", 5000)
    assert {"first", "second"} == {each for each in ("first", "second", "third") if each in ended}
    again = EndedSessions(tmp_path, lambda: now[0])
    assert "first" in again
    now[0] = 2001.0
    again.add("third", 6000)
    assert len(json.loads((tmp_path / "ended-logins").read_text())) == 2
    assert "third" in ended
    assert "first" not in (tmp_path / "ended-logins").read_text()
    assert (tmp_path / "ended-logins").stat().st_mode & 0o077 == 0


def test_a_damaged_file_of_ended_logins_locks_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "ended-logins").write_text("{")
    sessions = SessionStore({"operator": "a", "viewer": "b"}, home=tmp_path)
    login = sessions.find_login(cookie := sessions.create_session("operator", "ana"))
    assert login is not None
    sessions.end_session(login)
    assert sessions.find_login(cookie) is None
    assert SessionStore({"operator": "a", "viewer": "b"}, home=tmp_path).find_login(cookie) is None


async def test_a_printed_address_logs_its_person_in_once(site: Site) -> None:
    where = open_sessions(site.home).create_link("operator", "ana")
    async with site.client() as client:
        answer = await client.get(where)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "SameSite=strict" in answer.headers["set-cookie"]
        assert "ana, operator" in (await client.get("/campaigns")).text
        client.cookies.clear()
        again = await client.get(where)
        assert again.status_code == 401
        assert "set-cookie" not in again.headers
        assert "has expired or was used already" in again.text
        for wrong in ("/login/once", "/login/once?code=", "/login/once?code=aar_guess"):
            assert (await client.get(wrong)).status_code == 401
    code = where.partition("code=")[2]
    for file in site.home.rglob("*"):
        assert not file.is_file() or code.encode() not in file.read_bytes(), file
    noted = [json.loads(line) for line in (site.home / "audit.log").read_text().splitlines()]
    assert [(line["path"], line["who"]) for line in noted] == [("/login/once", "operator ana")]


async def test_beyond_loopback_such_an_address_works_as_well(site: Site) -> None:
    async with site.client(host="0.0.0.0") as client:
        assert (await client.get(open_sessions(site.home).create_link("viewer", "vi"))).status_code == 303
        assert "vi, viewer" in (await client.get("/campaigns")).text


def test_such_an_address_ends_by_itself_and_is_used_once_over_all_servers(tmp_path: Path) -> None:
    now = [1000.0]
    tokens: dict[Role, str] = {"operator": "a" * 40, "viewer": "b" * 40}
    here, elsewhere = (SessionStore(tokens, lambda: now[0], home=tmp_path) for _ in range(2))
    codes = [here.create_link("operator", f"p{index}").partition("code=")[2] for index in range(3)]
    assert len(set(codes)) == 3
    assert elsewhere.redeem_link(codes[0]) == ("operator", "p0")
    assert here.redeem_link(codes[0]) is None
    assert here.redeem_link(codes[1]) == ("operator", "p1")
    assert here.redeem_link(codes[1]) is None
    assert elsewhere.redeem_link(codes[1]) is None
    assert here.find_login(codes[2]) is None, "a link is no cookie"
    assert here.redeem_link(here.create_session("operator", "p2")) is None, "a cookie is no link"
    assert SessionStore({"operator": "c" * 40, "viewer": "b" * 40}).redeem_link(codes[2]) is None
    now[0] += LOGIN_LINK_SECONDS
    assert here.redeem_link(codes[2]) is None


async def test_work_under_one_key_waits_for_no_other_and_is_done_once() -> None:
    once, may_end, done = IdempotencyCache(), asyncio.Event(), []

    async def slow() -> str:
        await may_end.wait()
        done.append("slow")
        return "launched"

    async def quick() -> str:
        done.append("quick")
        return "paused"

    launches = [asyncio.create_task(once.run(("launch", "a"), slow)) for _ in range(3)]
    async with asyncio.timeout(30):
        assert await once.run(("control", "b"), quick) == "paused"
        assert await once.run(("control", "b"), quick) == "paused"
        may_end.set()
        assert await asyncio.gather(*launches) == ["launched"] * 3
    assert done == ["quick", "slow"]


async def test_what_failed_under_a_key_is_tried_again() -> None:
    once, tries = IdempotencyCache(), []

    async def fails() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError
        return "done"

    with pytest.raises(ValueError):  # noqa: PT011 - its own
        await once.run(("x",), fails)
    assert await once.run(("x",), fails) == "done"
    assert await once.run(("x",), fails) == "done"
    assert len(tries) == 2


def test_a_cookie_that_nobody_signed_is_not_read() -> None:
    sessions = SessionStore({"operator": "a" * 40, "viewer": "b" * 40})
    deep = base64.urlsafe_b64encode(b"[" * 20_000).decode()
    for cookie in (deep, f"{deep}.{'0' * 64}", "\udcff.\udcff", "..", ""):
        assert sessions.find_login(cookie) is None
    right = sessions.create_session("viewer", "ana")
    packed, _, signature = right.rpartition(".")
    assert sessions.find_login(right) is not None
    assert SessionStore({"operator": "b" * 40, "viewer": "c" * 40}).find_login(right) is None, (
        "signed with another role's key"
    )
    assert sessions.find_login(f"{packed}.{signature.upper()}") is None
