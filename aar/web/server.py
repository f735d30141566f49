"""Runs the server, for ``aar serve`` and for the process beside a running campaign.

Bind first, before anything is started or spent; then pass the socket to ``serve_app``::

    listener = bind_listener("127.0.0.1", 8808)
    app = create_app(db, home=home, host="127.0.0.1")
    await serve_app(app, listener)
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aar.processes import open_file_limit
from aar.web.listen_address import is_loopback

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


_log = logging.getLogger(__name__)

HEAD_SECONDS = 10.0
"""Seconds for the whole head of a request, from the connection's start or from its first byte."""
BODY_SECONDS = 60.0
_MOST_CONNECTIONS = 1000
_LEAST = 64
_OTHERS = 256
"""Descriptors reserved for the database, files and the rest."""
_BY_ADDRESS = 200
_POLL_SECONDS = 1.0
_QUIET_SECONDS = 10.0


class ClientConnection(Protocol):
    """A connection, as the limiter uses it."""

    @property
    def address(self) -> str:
        """Returns its remote address."""

    def drop(self) -> None:
        """Closes it at once."""


class ConnectionLimiter:
    """A limiter of one server's connections.

    Args:
        most: maximum in all; None for as many as this process's limit of open files allows.
        by_address: maximum from one other machine. This machine's are not limited: a proxy's users share them.
        head_seconds, body_seconds: time limits for head and body of a request.
    """

    def __init__(
        self,
        most: int | None = None,
        by_address: int = _BY_ADDRESS,
        head_seconds: float = HEAD_SECONDS,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        room = max(_LEAST, min(_MOST_CONNECTIONS, (open_file_limit() - _OTHERS) // 2))
        self.most = room if most is None else most
        self._by_address = by_address
        self._seconds = {"head": head_seconds, "body": body_seconds}
        self._open: dict[ClientConnection, str] = {}
        self._addresses: Counter[str] = Counter()
        # Oldest first, because each kind has one time limit.
        self._late: dict[str, dict[ClientConnection, float]] = {"head": {}, "body": {}}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Returns the number of connections."""
        return len(self._open)

    def opened(self, connection: ClientConnection) -> None:
        """Adds a connection; closes another one, or it, if there are too many."""
        address = connection.address
        crowded = not is_loopback(address) and self._addresses[address] >= self._by_address
        if crowded or len(self._open) >= self.most:
            # A slow body occupies a place like half a head does, and needs no login either.
            late = (each for part in ("head", "body") for each in self._late[part])
            waiting = (each for each in late if not crowded or each.address == address)
            oldest = next(waiting, None)
            if oldest is None:
                connection.drop()
                return
            self._drop(oldest)
        self._open[connection] = address
        self._addresses[address] += 1
        self.expect(connection, "head")

    def expect(self, connection: ClientConnection, part: str) -> None:
        """Starts the time limit of a request's ``head`` or ``body``; empty stops it."""
        if connection not in self._open:
            return
        for late in self._late.values():
            late.pop(connection, None)
        if part:
            self._late[part][connection] = time.monotonic() + self._seconds[part]
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_POLL_SECONDS, self._look)

    def waits_for(self, connection: ClientConnection) -> bool:
        """Returns True if a part of a request must still arrive."""
        return any(connection in late for late in self._late.values())

    def closed(self, connection: ClientConnection) -> None:
        """Removes a connection."""
        address = self._open.pop(connection, None)
        for late in self._late.values():
            late.pop(connection, None)
        if address is not None:
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    def _drop(self, connection: ClientConnection) -> None:
        self.closed(connection)
        connection.drop()

    def _look(self) -> None:
        self._timer = None
        moment = time.monotonic()
        for late in self._late.values():
            while late and next(iter(late.values())) <= moment:
                self._drop(next(iter(late)))
        if any(self._late.values()):
            self._timer = asyncio.get_running_loop().call_later(_POLL_SECONDS, self._look)

    def protocol(self) -> type[asyncio.Protocol]:
        """Returns uvicorn's protocol class with these limits."""
        connections = self

        class Bounded(HttpToolsProtocol):
            address = ""

            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
                super().connection_made(transport)
                self.address = self.client[0] if self.client else ""
                connections.opened(self)

            def connection_lost(self, exc: Exception | None) -> None:
                connections.closed(self)
                super().connection_lost(exc)

            def data_received(self, data: bytes) -> None:
                if self.cycle is not None and self.cycle.response_complete and not connections.waits_for(self):
                    connections.expect(self, "head")  # the next request on a kept connection
                super().data_received(data)

            def on_headers_complete(self) -> None:
                connections.expect(self, "body")
                super().on_headers_complete()

            def on_message_complete(self) -> None:
                connections.expect(self, "")
                super().on_message_complete()

            def drop(self) -> None:
                self.transport.abort()

        return Bounded


class AcceptErrorHandler:
    """An exception handler for event loops that logs accept errors once.

    Without free descriptors, asyncio reports them many times a second.
    """

    def __init__(self) -> None:
        self._told = -_QUIET_SECONDS

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handles one error."""
        if not str(context.get("message", "")).startswith("socket.accept() out of system resource"):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._told >= _QUIET_SECONDS:
            self._told = time.monotonic()
            _log.warning("no connection can be accepted for now: %s", context.get("exception"))
