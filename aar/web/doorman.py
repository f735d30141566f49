"""What every request passes before any handler: host check, login beyond loopback, security headers on the answer.

A plain ASGI layer, so that streams pass through it unbuffered.
"""

from __future__ import annotations

import ipaddress

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aar.errors import Forbidden
from aar.web.auth import may_read
from aar.web.failures import Unauthorized, respond
from aar.web.mcp import PATH as MCP
from aar.web.state import Shared

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
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="aar: the password is the operator token", charset="UTF-8"'}


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Doorman:
    """ASGI layer around the whole app."""

    def __init__(self, app: ASGIApp, shared: Shared) -> None:
        self._app = app
        self._shared = shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope)
        refusal = self._refusal(request)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
            return
        headers = _CHALLENGE if isinstance(refusal, Unauthorized) else None
        await respond(request, refusal, headers)(scope, receive, send_guarded)

    def _refusal(self, request: Request) -> Forbidden | Unauthorized | None:
        """Why a request may not come in.

        On loopback a foreign Host header means that a page elsewhere had its own name resolve to this machine (DNS
        rebinding) to read what only this machine's people may.
        """
        if self._shared.open_reading:
            host = request.headers.get("host", "")
            if not is_loopback(_name_of(host)):
                return Forbidden(f"host {host[:100]!r} is not this machine", "Open the address that the server printed")
            return None
        if not may_read(self._shared, request) and not _asks_itself(request.url.path):
            return Unauthorized(
                "this server is reachable from other machines, so every request needs the operator's token",
                "Send it as a bearer token, or as the password when the browser asks",
            )
        return None


def _asks_itself(path: str) -> bool:
    """Whether a path has a check of its own, which also lets researchers' tokens in."""
    return path == MCP or path.startswith(f"{MCP}/")


def _name_of(host: str) -> str:
    """The name in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
