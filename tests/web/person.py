"""Somebody at a browser without JavaScript, for tests of forms."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import httpx

from aar.store import event_log

if TYPE_CHECKING:
    from .conftest import Site

CAMPAIGN = "/campaigns/k3v9qd"
POSTS = f"{CAMPAIGN}/posts"
API = f"/api/v1{CAMPAIGN}"


class Person:
    """Somebody at a browser without JavaScript."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def log_in(self, token: str, name: str = "ana") -> None:
        answer = await self.client.post("/login", data={"token": token, "name": name})
        assert answer.status_code == 303

    async def open(self, path: str) -> str:
        answer = await self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def fields(self, path: str) -> dict[str, str]:
        """The hidden fields of the page's form that has most of them."""
        return hidden(await self.open(path))

    async def send(self, path: str, **fields: str) -> httpx.Response:
        return await self.client.post(path, data=fields)


def hidden(page: str) -> dict[str, str]:
    """Hidden fields of a page's main; forms share their token."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page[page.index("<main") :]))


def typed(page: str, name: str) -> str:
    """What a field of a page holds."""
    area = re.search(rf'<textarea[^>]* name="{name}"[^>]*>\n(.*?)</textarea>', page, re.S)
    if area:
        return html.unescape(area[1])
    line = re.search(rf'<input\s[^>]*name="{name}"[^>]* value="([^"]*)"', page[page.index('class="panel acting"') :])
    assert line, name
    return html.unescape(line[1])


def events(site: Site) -> int:
    with site.db.reading() as session:
        return event_log.latest_event_id(session, "k3v9qd")
