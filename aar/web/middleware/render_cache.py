"""One rendering for all open pages: a hundred browsers that watch take a page anew at the same moment.

An open page names the newest event that it waits to see in the header ``aar-seen``. Whatever was rendered since that
event came in, for the same role, serves it; what is older, and every request without the header, is rendered for
itself. What is rendered for such a request knows a role but no login (``aar.web.current_user.PageRefresh``), so there
is no name, form token or one-time line in it that could reach somebody else.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aar.web.current_user import SEEN_HEADER, PageRefresh, current_refresh
from aar.web.event_feed import EventFeed

_MOST = 64
"""Pages that are kept at once."""
_DIFFERS_BY = ("authorization", "accept-encoding", "host", "hx-request")
"""Headers that may change what is sent, besides the role that a cookie proves."""

_ENDLESS = ("/stream", "/live")
"""What is never sent to its end, and so never kept."""


@dataclass(slots=True)
class _Page:
    """A page as it was sent; ``cursor`` is the newest event before its rendering began, -1 without one."""

    cursor: int = -1
    sent: list[Message] = field(default_factory=list)
    rendering: asyncio.Lock = field(default_factory=asyncio.Lock)


class RenderCache:
    """ASGI layer around the pages; it must stand behind whatever checks who may read.

    Args:
        feed: whose watchers ask; it knows each campaign's newest event.
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
        """The newest event of the campaign that is asked about, as its watchers know it; -1 without watchers."""
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
    """Id of the campaign that a page or an answer of the API is about; empty for none."""
    parts = path.removeprefix("/api/v1").split("/", 3)
    return parts[2] if len(parts) > 2 and parts[1] == "campaigns" else ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
