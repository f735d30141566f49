"""Bounds on a server's connections: how many there may be, and how long one may take to say what it wants.

A connection that has not sent a whole request yet costs a descriptor and gives nothing. Where there is no room, the one
that has waited longest for a head, or else for a body, makes place for a new one; whoever sends a request at once is
never the one.
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
"""Within so long the head of a request must be whole, from the connection's begin or from its first byte."""
BODY_SECONDS = 60.0
_MOST = 1000
_LEAST = 64
_OTHERS = 256
"""Descriptors that are left for the database, files and the rest."""
_BY_ADDRESS = 200
_POLL_SECONDS = 1.0
_QUIET_SECONDS = 10.0


class ClientConnection(Protocol):
    """A connection as the bounds see it."""

    @property
    def address(self) -> str:
        """Where it comes from."""

    def drop(self) -> None:
        """Close it at once."""


class ConnectionLimiter:
    """Keeps count of one server's connections.

    Args:
        most: in all; None for what this process's limit of open files allows.
        by_address: from one other machine. Addresses of this one are not bounded: a proxy's users share it.
        head_seconds, body_seconds: how long head and body of a request may take.
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
        # Oldest first, since each kind has one time that it may take.
        self._late: dict[str, dict[ClientConnection, float]] = {"head": {}, "body": {}}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many there are."""
        return len(self._open)

    def opened(self, connection: ClientConnection) -> None:
        """Take one up; another one, or it, is closed where that is one too many."""
        address = connection.address
        crowded = not is_loopback(address) and self._addresses[address] >= self._by_address
        if crowded or len(self._open) >= self.most:
            # A body that comes slowly holds a place as well as half a head does, and needs no login either.
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
        """The ``head`` or the ``body`` of a request must come whole from now on; empty: nothing is waited for."""
        if connection not in self._open:
            return
        for late in self._late.values():
            late.pop(connection, None)
        if part:
            self._late[part][connection] = time.monotonic() + self._seconds[part]
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_POLL_SECONDS, self._look)

    def waits_for(self, connection: ClientConnection) -> bool:
        """Whether a part of a request must come."""
        return any(connection in late for late in self._late.values())

    def closed(self, connection: ClientConnection) -> None:
        """Forget one."""
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
        """The class of uvicorn's protocol that keeps to these bounds."""
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
    """An exception handler for a loop: what asyncio tells many times a second when there are no descriptors, once."""

    def __init__(self) -> None:
        self._told = -_QUIET_SECONDS

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take one error."""
        if not str(context.get("message", "")).startswith("socket.accept() out of system resource"):
            loop.default_exception_handler(context)
        elif time.monotonic() - self._told >= _QUIET_SECONDS:
            self._told = time.monotonic()
            _log.warning("no connection can be accepted for now: %s", context.get("exception"))
