"""Render cache: one rendering for all open pages that refresh at the same moment.

An open page sends the newest event that it must show in the header ``aar-seen``. A rendering for the same role that was
made since that event serves it. Older renderings do not, and every request without the header is rendered for itself. A
rendering for such a request knows a role but no login (``aar.web.authentication.PageRefresh``), so it contains no name,
CSRF token or one-time line that could reach another person.

It stays because without it a hundred open pages of a night's campaign wait: an event reaches them after 3.0 s at the
median instead of 0.2 s, and a refresh takes 7.3 s instead of 1.6 s (`benchmarks/pages.py`, on a busy machine).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aar.web.authentication import SEEN_HEADER, PageRefresh, current_refresh
from aar.web.event_feed import EventFeed

_MOST = 64
"""Maximum number of stored pages."""
_DIFFERS_BY = ("authorization", "accept-encoding", "host", "hx-request")
"""Headers that may change what is sent, besides the role that a cookie proves."""

_ENDLESS = ("/stream", "/live")
"""Endless responses, which are never stored."""


@dataclass(slots=True)
class _Page:
    """A page as sent; ``cursor`` is the newest event before its rendering, or -1."""

    cursor: int = -1
    sent: list[Message] = field(default_factory=list)
    rendering: asyncio.Lock = field(default_factory=asyncio.Lock)


class RenderCache:
    """An ASGI layer around the pages; it must be behind the access checks.

    Args:
        feed: the feed of the watchers; it knows each campaign's newest event.
    """

    def __init__(self, app: ASGIApp, feed: EventFeed) -> None:
        self._app = app
        self._feed = feed
        self._pages: OrderedDict[tuple[str, ...], _Page] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watching = current_refresh()
        newest = -1 if watching is None else self._newest(scope)
        seen = -1 if newest < 0 else _number(Request(scope).headers.get(SEEN_HEADER, ""))
        if watching is None or not 0 <= seen <= newest:
            await self._app(scope, receive, send)
            return
        page = self._page(Request(scope), watching)
        async with page.rendering:
            if page.cursor < seen:
                await self._render(page, self._newest(scope), scope, receive)
            sent = page.sent
        for message in sent:
            await send(message)

    def _newest(self, scope: Scope) -> int:
        """Returns the newest event of the requested campaign; -1 without watchers."""
        path = str(scope["path"]) if scope["type"] == "http" else ""
        if scope.get("method") != "GET" or path.endswith(_ENDLESS):
            return -1
        campaign_id = _campaign(path)
        return self._feed.newest_event_id(campaign_id) if campaign_id else -1

    def _page(self, request: Request, watching: PageRefresh) -> _Page:
        differs = (request.headers.get(name, "") for name in _DIFFERS_BY)
        controller = self._feed.controller_state(_campaign(request.url.path))
        key = (request.url.path, request.url.query, watching.role or "", controller, *differs)
        page = self._pages.setdefault(key, _Page())
        self._pages.move_to_end(key)
        while len(self._pages) > _MOST:
            self._pages.popitem(last=False)
        return page

    async def _render(self, page: _Page, cursor: int, scope: Scope, receive: Receive) -> None:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        right = bool(messages) and messages[0].get("status") == 200
        page.cursor, page.sent = cursor if right else -1, messages


def _campaign(path: str) -> str:
    """Returns the campaign id of a page or API path; empty for none."""
    parts = path.removeprefix("/api/v1").split("/", 3)
    return parts[2] if len(parts) > 2 and parts[1] == "campaigns" else ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
