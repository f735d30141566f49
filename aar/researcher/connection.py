"""One TCP or TLS connection: bytes that came are kept until somebody asks, so that one look takes them all."""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from ipaddress import ip_address
from typing import cast

_MOST_UNREAD = 1 << 20
_PROBES = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5))
"""As the SDK sets them: a network that forgot a silent connection is noticed."""


class Connection(asyncio.Protocol):
    """Reads and writes of one connection, one at a time; make it with ``connect``."""

    def __init__(self) -> None:
        self.ended = False
        """Nothing more will come."""
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._unread: list[bytes] = []
        self._size = 0
        self._error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._full = self._paused = False

    async def read(self, seconds: float | None) -> bytes:
        """All bytes that came since the last read, waited for if there are none; empty at the end.

        Raises:
            TimeoutError: none came in time.
            OSError: the connection broke.
        """
        if not self._unread and not self.ended:
            await self._wait(seconds)
        if not self._unread:
            if self._error is not None:
                raise self._error
            return b""
        data = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        self._unread, self._size = [], 0
        if self._paused and not self.ended:
            self._paused = False
            self._wire.resume_reading()
        return data

    async def write(self, data: bytes, seconds: float | None) -> None:
        """Send; returns once the bytes are on their way, or the other side answers or closes before it read them.

        Raises:
            TimeoutError: they were not taken in time.
        """
        if self.ended:
            return
        self._wire.write(data)
        if self._full and not self._unread:
            await self._wait(seconds)

    @property
    def reusable(self) -> bool:
        """Whether nothing is under way in either direction."""
        return not self.ended and not self._unread and self._wire.get_write_buffer_size() == 0

    def close(self) -> None:
        """Close it at once; what is still unsent is dropped."""
        self.ended = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)
        end = transport.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _PROBES:
            if hasattr(socket, name):
                end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self._unread.append(data)
        self._size += len(data)
        if self._size > _MOST_UNREAD and not self._paused:
            self._paused = True
            self._wire.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """Called by the loop, which then closes."""
        self.ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self.ended, self._error = True, self._error or exc
        if self._timer is not None:
            self._timer.cancel()
        self._wake()

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._full = True

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._full = False
        self._wake()

    async def _wait(self, seconds: float | None) -> None:
        """Until something comes, goes or ends. One timer serves all waits: it looks, when it rings, whether it is due,
        for this runs for every piece of every reply."""
        loop = asyncio.get_running_loop()
        self._due = math.inf if seconds is None else loop.time() + seconds
        if seconds is not None and (self._timer is None or self._timer.when() > self._due):
            self._set(loop)
        self._waiting = loop.create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._due, self._rung, loop)

    def _rung(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._waiting is None or self._waiting.done() or self._due == math.inf:
            return
        if self._due > loop.time():
            self._set(loop)
        else:
            self._waiting.set_exception(TimeoutError())

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    @property
    def _wire(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport


async def connect(host: str, port: int, tls: ssl.SSLContext | None, seconds: float | None) -> Connection:
    """Open a connection.

    Args:
        tls: None for a plain one.
        seconds: for the name, the connection and the handshake together.

    Raises:
        TimeoutError: it took longer.
        OSError: nobody answers, the name is unknown, or the certificate does not hold.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds):
        _, connection = await loop.create_connection(
            # A race of addresses forgets a socket when it is cancelled; one address needs none.
            Connection,
            host,
            port,
            ssl=tls,
            happy_eyeballs_delay=None if _is_address(host) else 0.25,
        )
    return connection


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
