"""Open pages that are taken anew at once are rendered once, never older than asked for, never across logins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aar.web.kept import KeptPages

pytestmark = pytest.mark.anyio


class Feed:
    """What is known of one campaign."""

    newest_id = 7

    def newest(self, campaign_id: str) -> int:
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


async def ask(app: KeptPages, path: str = "/campaigns/k3v9qd", method: str = "GET", **headers: str) -> bytes:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": named}
    scope["server"] = ("127.0.0.1", 80)
    await app(scope, receive, send)
    return bytes(sent[1]["body"])


async def test_a_crowd_gets_one_rendering() -> None:
    pages = Pages()
    app = KeptPages(pages, Feed())  # type: ignore[arg-type]
    assert await asyncio.gather(*(ask(app, aar_seen="7") for _ in range(50))) == [b"1"] * 50
    assert pages.rendered == 1


async def test_a_newer_event_asks_for_a_new_rendering() -> None:
    feed = Feed()
    app = KeptPages(Pages(), feed)  # type: ignore[arg-type]
    assert await ask(app, aar_seen="7") == b"1"
    feed.newest_id = 8
    assert await ask(app, aar_seen="7") == b"1"
    assert await ask(app, aar_seen="8") == b"2"
    assert await ask(app, aar_seen="7") == b"2"


@pytest.mark.parametrize("headers", [{}, {"aar_seen": "99999999999"}, {"aar_seen": "-1"}, {"aar_seen": "x"}])
async def test_what_names_no_known_event_is_rendered_for_itself(headers: dict[str, str]) -> None:
    app = KeptPages(Pages(), Feed())  # type: ignore[arg-type]
    await ask(app, aar_seen="7")
    assert [await ask(app, **headers), await ask(app, **headers)] == [b"2", b"3"]
    assert await ask(app, aar_seen="7") == b"1"


async def test_nobody_gets_what_was_rendered_for_another() -> None:
    app = KeptPages(Pages(), Feed())  # type: ignore[arg-type]
    asked = [
        {"cookie": "aar_session=a"},
        {"cookie": "aar_session=b"},
        {"authorization": "Bearer t"},
        {"accept_encoding": "gzip"},
        {},
    ]
    assert len({await ask(app, aar_seen="7", **each) for each in asked}) == len(asked)
    assert await ask(app, "/campaigns/k3v9qd/posts", aar_seen="7") == b"6"
    assert await ask(app, "/campaigns/other", aar_seen="7") == b"7"
    assert await ask(app, method="POST", aar_seen="7") == b"8"


async def test_a_failure_is_not_kept() -> None:
    app = KeptPages(Pages(status=503), Feed())  # type: ignore[arg-type]
    assert [await ask(app, aar_seen="7"), await ask(app, aar_seen="7")] == [b"1", b"2"]
