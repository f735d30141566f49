"""What every request passes before any handler, and what is added to its answer.

Before: how often it may ask, the host's name, whether another site sent it, login beyond loopback. After: security
headers, and a line in the audit log for what would change something. A plain ASGI layer, so that streams pass
through it unbuffered.
"""

from __future__ import annotations

import hashlib
import ipaddress
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aar.errors import AarError, Forbidden, TooMany
from aar.web.audit_log import AuditLog
from aar.web.auth import may_read, who_asked
from aar.web.failures import Unauthorized, respond, retry_after
from aar.web.mcp import PATH as MCP
from aar.web.sessions import COOKIE
from aar.web.state import Shared
from aar.web.visitor import is_refresh, visiting

HEADERS = {
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
"""On every answer, unless the handler set its own."""
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="aar: the password is the viewer token", charset="UTF-8"'}
_QUIETLY = {"WWW-Authenticate": 'Bearer realm="aar"'}
"""For an open page whose login ended: a browser would ask for a password in the middle of reading."""
_LOGIN = "/login"
_STYLES = ("pages.css", "acting.css", "report/base.css", "report/chart.css")
_OPEN = frozenset({_LOGIN, "/static/icon.svg", *(f"/static/{name}" for name in _STYLES)})
"""What the login page needs; a browser would ask for a password in front of it for whatever is missing here."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_BYTES = 1024 * 1024
"""Of a body, whatever its length is said to be. Forms and figures have lower bounds of their own, MCP a higher one."""


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Doorman:
    """ASGI layer around the whole app.

    Args:
        audit: where tries to change something are noted.
    """

    def __init__(self, app: ASGIApp, shared: Shared, audit: AuditLog) -> None:
        self._app = app
        self._shared = shared
        self._rates = shared.rates
        self._buckets = shared.buckets
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                self._note(request, message["status"])
            await send(message)

        cookie = request.cookies.get(COOKIE, "")
        with visiting(self._shared.sessions, cookie, refreshing=is_refresh(request)):
            try:
                self._check_rates(request)
                self._check(request)
            except AarError as refusal:
                await self._turn_away(request, refusal)(scope, receive, send_guarded)
            else:
                bounded = receive if _asks_itself(request.url.path) else _bounded(receive)
                await self._app(scope, bounded, send_guarded)

    def _check_rates(self, request: Request) -> None:
        address, credential = address_of(request), credential_of(request)
        if credential:
            self._buckets.look("refused", address, self._rates.refused)
        if request.method in _READING or _asks_itself(request.url.path):
            return
        if request.url.path == _LOGIN:
            self._buckets.take("login", address, self._rates.login)
        self._shared.take_write(address, credential)

    def _check(self, request: Request) -> None:
        """Turn away what may not come in.

        On loopback a foreign Host header means that a page elsewhere had its own name resolve to this machine (DNS
        rebinding) to read what only this machine's people may.

        Raises:
            Forbidden: a foreign host's name, or another site's request.
            Unauthorized: no login and no token where reading needs one.
        """
        path = request.url.path
        if self._shared.open_reading:
            host = request.headers.get("host", "")
            if not is_loopback(_name_of(host)):
                raise Forbidden(f"host {host[:100]!r} is not this machine", "Open the address that the server printed")
        if request.method not in _READING and _is_from_elsewhere(request):
            raise Forbidden("another site sent this request", "Act on this server's own pages")
        if path not in _OPEN and not may_read(self._shared, request) and not _asks_itself(path):
            raise Unauthorized(
                "this server is reachable from other machines, so every request needs a login or a token",
                "Log in at /login, or send the operator's or the viewer's token as a bearer token",
            )

    def _turn_away(self, request: Request, refusal: AarError) -> ASGIApp:
        if isinstance(refusal, Unauthorized):
            wants_page = "text/html" in request.headers.get("accept", "") and request.method in _READING
            if wants_page and not credential_of(request, cookie=False):
                where = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse(f"{_LOGIN}?next={quote(where)}", HTTPStatus.SEE_OTHER)
            return respond(request, refusal, _QUIETLY if _is_scripted(request) else _CHALLENGE)
        return respond(request, refusal, retry_after(refusal))

    def _note(self, request: Request, status: int) -> None:
        address = address_of(request)
        if status == HTTPStatus.UNAUTHORIZED and credential_of(request, cookie=False):
            with suppress(TooMany):
                self._buckets.take("refused", address, self._rates.refused)
        asks_itself = _asks_itself(request.url.path)
        if request.method not in _READING and (status >= HTTPStatus.BAD_REQUEST or not asks_itself):
            who = who_asked(request.scope)
            self._audit.write(status=status, method=request.method, path=request.url.path, who=who, address=address)


def address_of(request: Request) -> str:
    """The machine that asks, for counting; empty where nothing says it."""
    return request.client.host if request.client else ""


def credential_of(request: Request, *, cookie: bool = True) -> str:
    """What tells one token or login from another, without being it; empty without any."""
    given = request.headers.get("authorization", "") or (request.cookies.get(COOKIE, "") if cookie else "")
    return hashlib.sha256(given.encode("utf-8", "replace")).hexdigest()[:32] if given else ""


def _bounded(receive: Receive) -> Receive:
    """A body of which no more comes in than any address needs: FastAPI reads it whole before it asks who sends it."""
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
    """Whether a browser says that another site's page makes this request. What no browser sent says nothing."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("origin", "null")  # "null" is also what our own pages send: no-referrer
    return origin != "null" and urlsplit(origin).netloc != request.headers.get("host", "")


def _asks_itself(path: str) -> bool:
    """Whether a path has a check of its own, which also lets researchers' tokens in."""
    return path == MCP or path.startswith(f"{MCP}/")


def _is_scripted(request: Request) -> bool:
    """Whether a script of an open page asks, not a person."""
    return is_refresh(request) or "text/event-stream" in request.headers.get("accept", "")


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
