"""The MCP server over streamable HTTP, below ``/mcp`` of the web application.

Every request is independent (no sessions), so a client survives a restart of the server, and there is no session that
another client could take over. The SDK is loaded when the first client connects: it would slow every start by half a
second.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from aar.errors import AarError, SetupError, Unauthorized
from aar.text import clean_text
from aar.web.app_state import AppState
from aar.web.authentication import client_address, get_authenticated
from aar.web.error_handlers import status_of
from aar.web.mcp import PATH
from aar.web.mcp.tool import McpClient, admit_client

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

_log = logging.getLogger(__name__)

_CALLER = "aar.mcp.caller"
_START_SECONDS = 30.0
_REFUSED = -32600
"""JSON-RPC's "invalid request"."""
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_ANY = ("0.0.0.0", "::", "")  # noqa: S104 - compared only


class McpEndpoint:
    """An ASGI application; close it with the server.

    Args:
        shared: the server's parts.
        host: the listen address; names in ``Host`` and ``Origin`` must be that address, or this machine's.
    """

    def __init__(self, shared: AppState, host: str) -> None:
        self._shared = shared
        self._host = host
        self._lock = asyncio.Lock()
        self._app: ASGIApp | None = None
        self._over = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @property
    def routes(self) -> list[Route]:
        """Returns the routes of the endpoint."""
        return [Route(path, endpoint=self, include_in_schema=False) for path in (PATH, PATH + "/{campaign}")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.method != "POST":
            # There is no server stream and no session to end: the protocol's response to GET and DELETE is 405.
            await Response(status_code=405, headers={"Allow": "POST"})(scope, receive, send)
            return
        try:
            caller = await anyio.to_thread.run_sync(
                admit_client, self._shared, _token(request), request.path_params.get("campaign")
            )
            scope[_CALLER] = replace(caller, address=client_address(request), key=get_authenticated(scope).key)
            app = self._app or await self._started()
        except AarError as error:
            await _refusal(error)(scope, receive, send)
            return
        await app(scope, receive, send)

    async def aclose(self) -> None:
        """Ends all tasks that serve clients."""
        self._over.set()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)

    async def _started(self) -> ASGIApp:
        async with self._lock:
            if self._app is None:
                try:
                    async with asyncio.timeout(_START_SECONDS):
                        self._app = await self._start()
                except Exception as error:
                    _log.exception("the MCP server did not start")
                    raise SetupError("the MCP server did not start", "See the server's log, then try again") from error
        return self._app

    async def _start(self) -> ASGIApp:
        """Starts the server; the next request after a failure tries again."""
        manager = await anyio.to_thread.run_sync(self._manager, abandon_on_cancel=True)
        ready = asyncio.Event()
        running = asyncio.create_task(self._run(manager, ready))
        waiting = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait([running, waiting], return_when=asyncio.FIRST_COMPLETED)
            if not ready.is_set():
                await running  # it died: raises the cause
                raise RuntimeError("the session manager ended at once")
        except BaseException:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            raise
        finally:
            waiting.cancel()
        self._running = running
        return manager.asgi_app

    async def _run(self, manager: StreamableHTTPSessionManager, ready: asyncio.Event) -> None:
        async with manager.run():
            ready.set()
            await self._over.wait()

    def _manager(self) -> StreamableHTTPSessionManager:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
        from mcp.server.transport_security import TransportSecuritySettings

        from aar.web.mcp.server import build_server

        hosts = allowed_hosts(self._host)
        security = TransportSecuritySettings(
            allowed_hosts=[form for name in hosts for form in (name, f"{name}:*")],
            allowed_origins=[
                form
                for name in hosts
                for scheme in ("http", "https")
                for form in (f"{scheme}://{name}", f"{scheme}://{name}:*")
            ],
        )
        return StreamableHTTPSessionManager(
            build_server(_caller_of), json_response=True, stateless=True, security_settings=security
        )


def allowed_hosts(host: str) -> list[str]:
    """Lists names allowed in ``Host``: loopback and the listen address.

    For any address, all names of this machine.
    """
    names = {socket.gethostname(), *_addresses(socket.gethostname())} if host in _ANY else {host}
    return [*_LOOPBACK, *sorted(f"[{name.strip('[]')}]" if ":" in name else name for name in names - {*_LOOPBACK})]


def _addresses(name: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(name, None)}
    except OSError:
        return set()


def _token(request: Request) -> str | None:
    """Returns the bearer token; None for a watcher.

    Another scheme is refused.
    """
    given = request.headers.get("authorization")
    if given is None:
        return None
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("only bearer tokens are accepted", "Send 'Authorization: Bearer TOKEN'")
    return token.strip()


def _refusal(error: AarError) -> Response:
    """Returns a refusal as the protocol's own error, with its HTTP status."""
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": _REFUSED, "message": clean_text(str(error))}}
    headers = {"WWW-Authenticate": 'Bearer realm="aar"'} if isinstance(error, Unauthorized) else None
    return JSONResponse(body, status_of(error), headers)


async def _caller_of(ctx: Any) -> McpClient:
    caller = ctx.request.scope[_CALLER]
    assert isinstance(caller, McpClient)
    return caller
