"""Runs the server, for ``aar serve`` and for the process beside a running campaign.

Bind first, before anything is started or spent; then pass the socket to ``serve_app``::

    listener = bind_listener("127.0.0.1", 8808)
    app = create_app(db, home=home, host="127.0.0.1")
    await serve_app(app, listener)
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager, nullcontext

import uvicorn
from fastapi import FastAPI

from aar.web.middleware.security import is_loopback
from aar.web.serving.connection_limits import AcceptErrorHandler, ConnectionLimiter
from aar.web.serving.listen_address import bind_listener, page_address

__all__ = ["access_notice", "bind_listener", "page_address", "serve_app"]

_GRACE_SECONDS = 3
_BACKLOG = 64
"""Maximum of connections accepted at once, before any can be refused."""


def access_notice(host: str, token_file: str) -> str:
    """Returns the notice at the start about access and tokens."""
    if is_loopback(host):
        return (
            "on this machine anybody may read the data that researchers see, while no external researcher takes part; "
            f"to read all and to act, log in at /login with the token in {token_file}"
        )
    return (
        f"reachable from other machines: every request needs the token in {token_file}, or the viewer's beside it, "
        "which only reads (a browser logs in at /login). Without TLS in front, tokens cross the network in plain text"
    )


async def serve_app(
    app: FastAPI,
    listener: socket.socket,
    *,
    handle_signals: bool = False,
    connections: ConnectionLimiter | None = None,
) -> None:
    """Serves until cancelled; then closes all connections and returns the listener's port.

    Streams are closed too.

    Args:
        app: from ``create_app``.
        listener: from ``bind_listener``; closed at the end.
        handle_signals: True if Ctrl-C and SIGTERM end the server (``aar serve``); inside a campaign they are the
            controller's.
        connections: their limiter; None for the defaults.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        lifespan="on",
        ws="none",
        http=(ConnectionLimiter() if connections is None else connections).protocol(),
        backlog=_BACKLOG,
    )
    loop = asyncio.get_running_loop()
    if loop.get_exception_handler() is None:
        loop.set_exception_handler(AcceptErrorHandler())
    server = _Server(config, app, handle_signals)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        server.should_exit = True
        await asyncio.wait([running])
        raise
    finally:
        listener.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: FastAPI, handle_signals: bool) -> None:
        super().__init__(config)
        self._app = app
        self._handle_signals = handle_signals

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leaves signals to the controller if there is one."""
        with super().capture_signals() if self._handle_signals else nullcontext():
            yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends the streams first: uvicorn waits for open responses."""
        self._app.state.aar.feed.close()
        await super().shutdown(sockets)
