"""Audit log: one JSON line per login and per request that would change something.

Accepted and refused requests go to two files, so that a flood of refusals cannot push accepted ones out. Tokens,
cookies and bodies are never logged. Accepted requests are also events of their campaign, with their author.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aar.auth.sessions import LOGIN_LINK_PATH as LOGIN_LINK
from aar.auth.sessions import SESSION_COOKIE
from aar.errors import AarError, Forbidden, TooMany, Unauthorized
from aar.text import clean_line
from aar.web.app_state import AppState
from aar.web.authentication import (
    Authenticated,
    ResearcherIdentity,
    authenticate,
    client_address,
    current_user_scope,
    get_authenticated,
    get_requester,
    is_refresh,
    may_read,
    store_authenticated,
)
from aar.web.error_handlers import LOGIN_PATH, refusal_response
from aar.web.listen_address import is_loopback
from aar.web.mcp import PATH as MCP

AUDIT_FILE = "audit.log"
REFUSED_FILE = "audit-refused.log"
_MOST_LOG_BYTES = 20_000_000
_LONGEST = 300
_log = logging.getLogger(__name__)


class AuditLog:
    """A log of JSON lines under ``home``, readable by its owner only.

    Each file has at most 20 MB of older lines beside it.

    Args:
        home: the folder of the operator's token.
    """

    def __init__(self, home: Path) -> None:
        self._accepted = home / AUDIT_FILE
        self._refused = home / REFUSED_FILE

    def write(self, *, status: int, method: str, path: str, who: str, address: str, left_out: int = 0) -> None:
        """Writes one line; blocks for the file.

        If the file cannot be written, the server's own log says so.

        Args:
            status: of the response; 400 and above is a refusal.
            path: without its query.
            who: such as ``operator ana``, ``researcher k3v9qd-r1`` or empty for an unknown client.
            left_out: number of refusals before this one without a line of their own.
        """
        line: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "outcome": "refused" if status >= 400 else "accepted",
            "status": status,
            "method": clean_line(method)[:16],
            "path": clean_line(path)[:_LONGEST],
            "who": clean_line(who)[:_LONGEST],
            "address": clean_line(address)[:_LONGEST],
        }
        if left_out:
            line["left_out"] = left_out
        data = (json.dumps(line) + "\n").encode()
        file = self._refused if status >= 400 else self._accepted
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.write(descriptor, data)
                full = os.fstat(descriptor).st_size > _MOST_LOG_BYTES
            finally:
                os.close(descriptor)
            if full:
                file.replace(file.with_suffix(".log.1"))
        except OSError as error:
            _log.error("the audit log cannot be written: %s", error)


SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""Headers of every response, unless the handler set its own."""
_REMEDY = "Log in at /login, or send the operator's or the viewer's token as a bearer token"
_STYLES = ("pages.css", "acting.css", "report/base.css", "report/chart.css")
_OPEN = frozenset({LOGIN_PATH, LOGIN_LINK, "/static/icon.svg", *(f"/static/{name}" for name in _STYLES)})
"""Assets of the login page, served without authentication. A 401 on one would make browsers prompt for a password."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_UNDER_WAY = 32
"""Requests of one researcher at a time, streams included."""
_MOST_BYTES = 1024 * 1024
"""Maximum of a body, whatever its declared length. Forms and figures have lower limits, MCP a higher one."""


class SecurityMiddleware:
    """An ASGI layer around the whole app.

    Args:
        audit: the log of requests that would change something.
    """

    def __init__(self, app: ASGIApp, shared: AppState, audit: AuditLog) -> None:
        self._app = app
        self._shared = shared
        self._rates = shared.rates
        self._buckets = shared.buckets
        self._audit = audit
        self._left_out = 0
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        store_authenticated(scope, Authenticated())

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                await self._note(request, message["status"])
            await send(message)

        cookie = request.cookies.get(SESSION_COOKIE, "")
        with current_user_scope(self._shared.sessions, cookie, refreshing=is_refresh(request)):
            try:
                self._reject_foreign(request)
                found = await authenticate(self._shared, request)
                store_authenticated(scope, found)
                self._check_rates(request, found)
                await self._check_reading(request, found)
                self._check_under_way(found)
            except AarError as refusal:
                await refusal_response(request, refusal)(scope, receive, send_guarded)
            else:
                bounded = receive if _asks_itself(request.url.path) else _bounded(receive)
                self._under_way[found.key] += 1
                try:
                    await self._app(scope, bounded, send_guarded)
                finally:
                    self._under_way[found.key] -= 1
                    if not self._under_way[found.key]:
                        del self._under_way[found.key]

    def _reject_foreign(self, request: Request) -> None:
        """Rejects requests from other sites, before they are counted.

        On loopback a foreign Host header means that a page elsewhere had its own name resolve to this machine (DNS
        rebinding) to read data that only this machine's people may read.

        Raises:
            Forbidden: a foreign host's name, or another site's request.
        """
        if self._shared.open_reading:
            host = request.headers.get("host", "")
            if not is_loopback(_name_of(host)):
                raise Forbidden(f"host {host[:100]!r} is not this machine", "Open the address that the server printed")
        if request.method not in _READING and _is_from_elsewhere(request):
            raise Forbidden("another site sent this request", "Act on this server's own pages")

    def _check_rates(self, request: Request, found: Authenticated) -> None:
        """Counts by token or login; unknown clients by address. Raises TooMany."""
        path = request.url.path
        if found.wrong_token:
            self._buckets.check("refused", client_address(request), self._rates.refused)
        if request.method in _READING or _asks_itself(path):
            return
        if path != LOGIN_PATH or found.key:  # the handler counts failed logins; a valid one is never delayed
            self._shared.count_write(client_address(request), found.key)

    def _check_under_way(self, found: Authenticated) -> None:
        """Limits one researcher's concurrent requests, streams and unread responses included.

        Raises:
            TooMany: the maximum of its requests is unanswered.
        """
        if isinstance(found.identity, ResearcherIdentity) and self._under_way[found.key] >= _MOST_UNDER_WAY:
            raise TooMany(f"too many requests at once: {_MOST_UNDER_WAY} of one researcher are allowed", 1.0)

    async def _check_reading(self, request: Request, found: Authenticated) -> None:
        """Raises Unauthorized if a client may not read at all."""
        path = request.url.path
        if path in _OPEN or _asks_itself(path) or await may_read(self._shared, found):
            return
        if found.wrong_token:
            raise Unauthorized("unknown token", "Use the token that you were given")
        if self._shared.open_reading:
            raise Unauthorized("this page needs a login", _REMEDY)
        raise Unauthorized("this server is reachable from other machines, so every request needs a login", _REMEDY)

    async def _note(self, request: Request, status: int) -> None:
        address, path = client_address(request), request.url.path
        found = get_authenticated(request.scope)
        if status == HTTPStatus.UNAUTHORIZED and found.wrong_token:
            with suppress(TooMany):
                self._buckets.take("refused", address, self._rates.refused)
        refused = status >= HTTPStatus.BAD_REQUEST
        if (request.method in _READING and path != LOGIN_LINK) or (_asks_itself(path) and not refused):
            return
        left_out = 0
        if refused:
            try:
                self._buckets.take("noted", found.key, self._rates.noted)
            except TooMany:
                self._left_out += 1
                return
            left_out, self._left_out = self._left_out, 0
        line = partial(
            self._audit.write,
            status=status,
            method=request.method,
            path=path,
            who=get_requester(request.scope),
            address=address,
            left_out=left_out,
        )
        with anyio.CancelScope(shield=True):  # log the request even if the client has disconnected
            await anyio.to_thread.run_sync(line)


def _bounded(receive: Receive) -> Receive:
    """Limits the body to the size that any endpoint needs.

    FastAPI reads it whole before it checks the sender.
    """
    left = _MOST_BYTES

    async def receive_bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is over {_MOST_BYTES // 1024} KiB")
        return message

    return receive_bounded


def _is_from_elsewhere(request: Request) -> bool:
    """Returns True if a browser reports another site's page as the origin.

    Requests without a browser's headers report nothing.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin", "null")  # "null" is also what our own pages send: no-referrer
    return origin != "null" and urlsplit(origin).netloc != request.headers.get("host", "")


def _asks_itself(path: str) -> bool:
    """Returns True if a path has its own check, which also admits researchers' tokens."""
    return path == MCP or path.startswith(f"{MCP}/")


def _name_of(host: str) -> str:
    """Returns the name in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
