"""Open pages that are taken anew at once are rendered once a role, never older than asked for; whole pages never."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aar.auth.sessions import SessionStore
from aar.web.authentication import current_user_scope
from aar.web.render_cache import RenderCache

pytestmark = pytest.mark.anyio
SESSIONS = SessionStore({"operator": "o" * 40, "viewer": "v" * 40})
ANA, BEN = (SESSIONS.create_session("operator", name) for name in ("ana", "ben"))
VERA = SESSIONS.create_session("viewer", "vera")


class Feed:
    """What is known of one campaign."""

    newest_id = 7
    state = "alive"

    def controller_state(self, campaign_id: str) -> str:
        return self.state if campaign_id == "k3v9qd" else ""

    def newest_event_id(self, campaign_id: str) -> int:
        return self.newest_id if campaign_id == "k3v9qd" else -1


class Pages:
    """An application that counts what it renders."""

    def __init__(self, status: int = 200) -> None:
        self.rendered = 0
        self.status = status

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        self.rendered += 1
        body = str(self.rendered).encode()
        await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def ask(
    app: RenderCache,
    path: str = "/campaigns/k3v9qd",
    method: str = "GET",
    *,
    login: str = "",
    refreshing: bool = True,
    **headers: str,
) -> bytes:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": named}
    scope["server"] = ("127.0.0.1", 80)
    with current_user_scope(SESSIONS, SESSIONS.find_login(login), refreshing=refreshing):
        await app(scope, receive, send)
    return bytes(sent[1]["body"])


async def test_a_crowd_gets_one_rendering() -> None:
    pages = Pages()
    app = RenderCache(pages, Feed())  # type: ignore[arg-type]
    assert await asyncio.gather(*(ask(app, aar_seen="7") for _ in range(50))) == [b"1"] * 50
    assert pages.rendered == 1


async def test_a_newer_event_asks_for_a_new_rendering() -> None:
    feed = Feed()
    app = RenderCache(Pages(), feed)  # type: ignore[arg-type]
    assert await ask(app, aar_seen="7") == b"1"
    feed.newest_id = 8
    assert await ask(app, aar_seen="7") == b"1"
    assert await ask(app, aar_seen="8") == b"2"
    assert await ask(app, aar_seen="7") == b"2"


@pytest.mark.parametrize("headers", [{}, {"aar_seen": "99999999999"}, {"aar_seen": "-1"}, {"aar_seen": "x"}])
async def test_what_names_no_known_event_is_rendered_for_itself(headers: dict[str, str]) -> None:
    app = RenderCache(Pages(), Feed())  # type: ignore[arg-type]
    await ask(app, aar_seen="7")
    assert [await ask(app, **headers), await ask(app, **headers)] == [b"2", b"3"]
    assert await ask(app, aar_seen="7") == b"1"


async def test_logins_of_one_role_share_and_roles_do_not() -> None:
    app = RenderCache(Pages(), Feed())  # type: ignore[arg-type]
    asked: list[dict[str, str]] = [
        {},
        {"login": ANA},
        {"login": VERA},
        {"authorization": "Bearer t"},
        {"accept_encoding": "gzip"},
        {"hx_request": "true"},
    ]
    assert len({await ask(app, aar_seen="7", **each) for each in asked}) == len(asked)  # type: ignore[arg-type]
    assert await ask(app, aar_seen="7", login=BEN) == await ask(app, aar_seen="7", login=ANA) == b"2"
    assert await ask(app, aar_seen="7", login=ANA.partition(".")[0] + "." + "0" * 64) == b"1"
    assert await ask(app, "/campaigns/k3v9qd/posts", aar_seen="7") == b"7"
    assert await ask(app, "/campaigns/other", aar_seen="7") == b"8"
    assert await ask(app, method="POST", aar_seen="7") == b"9"


async def test_a_whole_page_is_never_shared() -> None:
    """It has a login's name and token in it, whatever header its request carries."""
    app = RenderCache(Pages(), Feed())  # type: ignore[arg-type]
    asked = [await ask(app, aar_seen="7", login=ANA, refreshing=False) for _ in range(2)]
    assert asked == [b"1", b"2"]


async def test_figures_data_are_shared_and_streams_are_not() -> None:
    app = RenderCache(Pages(), Feed())  # type: ignore[arg-type]
    chart = "/api/v1/campaigns/k3v9qd/charts/score"
    assert [await ask(app, chart, aar_seen="7") for _ in range(2)] == [b"1", b"1"]
    for stream in ("/campaigns/k3v9qd/live", "/api/v1/campaigns/k3v9qd/events/stream"):
        first, again = [await ask(app, stream, aar_seen="7") for _ in range(2)]
        assert first != again


async def test_a_failure_is_not_kept() -> None:
    app = RenderCache(Pages(status=503), Feed())  # type: ignore[arg-type]
    assert [await ask(app, aar_seen="7"), await ask(app, aar_seen="7")] == [b"1", b"2"]
