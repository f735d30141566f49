"""One TCP or TLS connection: bytes that came are kept until somebody asks, so that one look takes them all."""

from __future__ import annotations

import asyncio
import socket
import ssl
from ipaddress import ip_address
from typing import cast

_MOST_UNREAD = 1 << 20
_PROBES = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5))
"""As the SDK sets them: a network that forgot a silent connection is noticed."""


class Connection(asyncio.Protocol):
    """Reads and writes of one connection, one reader and one writer at a time; make it with ``connect``."""

    def __init__(self) -> None:
        self.ended = False
        """Nothing more will come."""
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._unread: list[bytes] = []
        self._size = 0
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._full = self._paused = False

    async def read(self, seconds: float | None) -> bytes:
        """All bytes that came since the last read, waited for if there are none; empty at the end.

        Raises:
            TimeoutError: none came in time.
            OSError: the connection broke.
        """
        if not self._unread and not self.ended:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await _within(seconds, self._reader)
            finally:
                self._reader = None
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
            self._writer = asyncio.get_running_loop().create_future()
            try:
                await _within(seconds, self._writer)
            finally:
                self._writer = None

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
        self._wake()

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._full = True

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._full = False
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def _wake(self) -> None:
        for waiting in (self._reader, self._writer):
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

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


async def _within(seconds: float | None, waiting: asyncio.Future[None]) -> None:
    """Wait, without a task or a context for the bound: this runs for every piece of every reply."""
    timer = None
    if seconds is not None:
        timer = asyncio.get_running_loop().call_later(seconds, _late, waiting)
    try:
        await waiting
    finally:
        if timer is not None:
            timer.cancel()


def _late(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_exception(TimeoutError())
