"""Middleware: security headers, audit log, host and origin checks, authentication, rate limits, body limit.

A request passes the layers in that order (see ``create_app``). Each is a plain ASGI layer, so that streams pass through
it unbuffered.

The audit log has one JSON line per login and per request that would change something. Accepted and refused requests go
to two files, so that a flood of refusals cannot push accepted ones out. Tokens, cookies and bodies are never logged.
Accepted requests are also events of their campaign, with their author.
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

from aar.auth.sessions import LOGIN_LINK_PATH
from aar.errors import AarError, Forbidden, TooMany, Unauthorized
from aar.text import clean_line
from aar.web.app_state import AppState
from aar.web.authentication import (
    ResearcherIdentity,
    authenticate,
    client_address,
    current_login,
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

_log = logging.getLogger(__name__)

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
_OPEN = frozenset({LOGIN_PATH, LOGIN_LINK_PATH, "/static/icon.svg", *(f"/static/{name}" for name in _STYLES)})
"""Assets of the login page, served without authentication. A 401 on one would make browsers prompt for a password."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_UNDER_WAY = 32
"""Requests of one researcher at a time, streams included."""
_MOST_BYTES = 1024 * 1024
"""Maximum of a body, whatever its declared length. Forms and figures have lower limits, MCP a higher one."""
AUDIT_FILE = "audit.log"
REFUSED_FILE = "audit-refused.log"
_MOST_LOG_BYTES = 20_000_000
_LONGEST = 300


class SecurityHeaders:
    """Adds security headers to every response, unless its handler set its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


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


class AuditTrail:
    """Writes a line in the audit log for each request that would change something.

    Args:
        audit: the log.
    """

    def __init__(self, app: ASGIApp, shared: AppState, audit: AuditLog) -> None:
        self._app = app
        self._rates = shared.rates
        self._buckets = shared.buckets
        self._audit = audit
        self._left_out = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._note(Request(scope), message["status"])
            await send(message)

        await self._app(scope, receive, send_noted)

    async def _note(self, request: Request, status: int) -> None:
        path, client = request.url.path, get_authenticated(request.scope)
        refused = status >= HTTPStatus.BAD_REQUEST
        if (request.method in _READING and path != LOGIN_LINK_PATH) or (_checks_itself(path) and not refused):
            return
        left_out = 0
        if refused:
            try:
                self._buckets.take("noted", client.key, self._rates.noted)
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
            address=client_address(request),
            left_out=left_out,
        )
        with anyio.CancelScope(shield=True):  # log the request even if the client has disconnected
            await anyio.to_thread.run_sync(line)


class RequestCheck:
    """Base of the layers that refuse requests: a subclass raises an AarError in ``check``."""

    def __init__(self, app: ASGIApp, shared: AppState) -> None:
        self._app = app
        self._shared = shared

    async def check(self, request: Request) -> None:
        """Raises AarError for a request to refuse."""
        raise NotImplementedError

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            try:
                await self.check(request)
            except AarError as refusal:
                await refusal_response(request, refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class OriginCheck(RequestCheck):
    """Rejects requests from other sites, before they are counted.

    On loopback a foreign Host header means that a page elsewhere had its own name resolve to this machine (DNS
    rebinding) to read data that only this machine's people may read. Starlette's TrustedHostMiddleware would refuse
    other loopback addresses such as 127.5.5.5, and answer with plain text.
    """

    async def check(self, request: Request) -> None:
        """Raises Forbidden for a foreign host's name, or another site's request."""
        if self._shared.open_reading:
            host = request.headers.get("host", "")
            if not is_loopback(_name_of(host)):
                raise Forbidden(f"host {host[:100]!r} is not this machine", "Open the address that the server printed")
        if request.method not in _READING and _is_from_elsewhere(request):
            raise Forbidden("another site sent this request", "Act on this server's own pages")


class Authentication(RequestCheck):
    """Authenticates each request once, for all its handlers, and sets the user of the pages rendered for it."""

    async def check(self, request: Request) -> None:
        """Stores the identity; an unknown client is refused later, if at all."""
        store_authenticated(request.scope, await authenticate(self._shared, request))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        login = current_login(self._shared, request)
        with current_user_scope(self._shared.sessions, login, refreshing=is_refresh(request)):
            await super().__call__(scope, receive, send)


class RateLimiting(RequestCheck):
    """Counts requests by token or login; those of unknown clients, and unknown tokens, by address."""

    async def check(self, request: Request) -> None:
        """Raises TooMany."""
        path, client = request.url.path, get_authenticated(request.scope)
        if client.wrong_token:
            self._shared.buckets.check("refused", client_address(request), self._shared.rates.refused)
        if request.method in _READING or _checks_itself(path):
            return
        if path != LOGIN_PATH or client.key:  # the handler counts failed logins; a valid one is never delayed
            self._shared.count_write(client_address(request), client.key)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_counted(message: Message) -> None:
            refused = message["type"] == "http.response.start" and message["status"] == HTTPStatus.UNAUTHORIZED
            if refused and get_authenticated(scope).wrong_token:
                with suppress(TooMany):
                    self._shared.buckets.take("refused", client_address(Request(scope)), self._shared.rates.refused)
            await send(message)

        await super().__call__(scope, receive, send_counted)


class ReadAccess(RequestCheck):
    """Refuses clients that may not read at all."""

    async def check(self, request: Request) -> None:
        """Raises Unauthorized."""
        path, client = request.url.path, get_authenticated(request.scope)
        if path in _OPEN or _checks_itself(path) or await may_read(self._shared, client):
            return
        if client.wrong_token:
            raise Unauthorized("unknown token", "Use the token that you were given")
        if self._shared.open_reading:
            raise Unauthorized("this page needs a login", _REMEDY)
        raise Unauthorized("this server is reachable from other machines, so every request needs a login", _REMEDY)


class ConcurrencyLimit(RequestCheck):
    """Limits one researcher's concurrent requests, streams and unread responses included."""

    def __init__(self, app: ASGIApp, shared: AppState) -> None:
        super().__init__(app, shared)
        self._under_way: Counter[str] = Counter()

    async def check(self, request: Request) -> None:
        """Raises TooMany if the maximum of a researcher's requests is unanswered."""
        client = get_authenticated(request.scope)
        if isinstance(client.identity, ResearcherIdentity) and self._under_way[client.key] > _MOST_UNDER_WAY:
            raise TooMany(f"too many requests at once: {_MOST_UNDER_WAY} of one researcher are allowed", 1.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = get_authenticated(scope).key
        self._under_way[key] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]


class BodyLimit:
    """Limits the body to the size that any endpoint needs.

    FastAPI reads it whole before it checks the sender.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left = _MOST_BYTES

        async def receive_bounded() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is over {_MOST_BYTES // 1024} KiB")
            return message

        await self._app(scope, receive if _checks_itself(scope.get("path", "")) else receive_bounded, send)


def _is_from_elsewhere(request: Request) -> bool:
    """Returns True if a browser reports another site's page as the origin.

    Requests without a browser's headers report nothing.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin", "null")  # "null" is also what our own pages send: no-referrer
    return origin != "null" and urlsplit(origin).netloc != request.headers.get("host", "")


def _checks_itself(path: str) -> bool:
    """Returns True if a path has its own check, which also admits researchers' tokens."""
    return path == MCP or path.startswith(f"{MCP}/")


def _name_of(host: str) -> str:
    """Returns the name in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
