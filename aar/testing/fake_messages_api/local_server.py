"""A loopback server for the fake server or any ASGI application.

It runs within an event loop, or in a separate thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from aar.testing.fake_messages_api.transport import ABORT, Receive, Scope, Send


class _Breakable(H11Protocol):
    """An HTTP protocol whose application can break the connection, as a network would."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        inner: Any = self.app

        async def with_abort(scope: Scope, receive: Receive, send: Send) -> None:
            extensions = {**(scope.get("extensions") or {}), ABORT: transport.abort}
            await inner({**scope, "extensions": extensions}, receive, send)

        self.app = with_abort


class LocalServer(uvicorn.Server):
    """A server that leaves signals to its program."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield


def server_config(app: Any) -> uvicorn.Config:
    """Return the server's configuration for an application."""
    return uvicorn.Config(
        app,
        http=_Breakable,
        lifespan="off",
        ws="none",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=60,
    )


def listen_on_loopback(port: int = 0) -> socket.socket:
    """Return a listening socket on loopback. Raises OSError when the port is taken."""
    # naming TCP has asyncio send at once: otherwise answers of several writes wait 40 ms for an acknowledgement
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen(1024)
    except OSError:
        listening.close()
        raise
    return listening


def base_url_of(listening: socket.socket) -> str:
    """Return the base URL of a listening socket."""
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextlib.asynccontextmanager
async def serve_app(app: Any) -> AsyncIterator[str]:
    """Serve an application within this event loop. Yields its base URL."""
    server = LocalServer(server_config(app))
    with listen_on_loopback() as listening:
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield base_url_of(listening)
        finally:
            server.should_exit = True
            await running


@contextlib.contextmanager
def serve_app_in_thread(app: Any, port: int = 0) -> Iterator[str]:
    """Serve an application in a thread with its own event loop.

    For programs that have no event loop.

    Args:
        port: 0 for a free one; the former port for a restarted server.
    """
    server = LocalServer(server_config(app))
    with listen_on_loopback(port) as listening:
        thread = threading.Thread(target=_run, args=(server, listening), name="messages double", daemon=True)
        thread.start()
        try:
            yield base_url_of(listening)
        finally:
            server.should_exit = True
            thread.join()


def _run(server: LocalServer, listening: socket.socket) -> None:
    run: Callable[[Any], None] = asyncio.run
    run(server.serve(sockets=[listening]))
