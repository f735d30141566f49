"""Limits a server's connections: their number, and the time for a request to arrive.

A connection without a whole request costs a descriptor and gives nothing. If there is no room, the one that has waited
longest for a head, or else for a body, is closed for a new one. Connections that send their request at once are never
closed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aar.campaign.runtime.file_descriptors import open_file_limit
from aar.web.middleware.security import is_loopback

_log = logging.getLogger(__name__)

HEAD_SECONDS = 10.0
"""Seconds for the whole head of a request, from the connection's start or from its first byte."""
BODY_SECONDS = 60.0
_MOST = 1000
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
        room = max(_LEAST, min(_MOST, (open_file_limit() - _OTHERS) // 2))
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
