"""The SDK's way onto the wire: HTTP/1.1 over connections that are kept, at the same cost however many there are.

The SDK's own transport looks at each connection of its pool, with a system call, at each request and at each end of
one, which with hundreds of researchers cost more than anything else; and it hands on each chunk by itself. Heads are
made and read by h11 here as there; bodies are taken whole (``aar.researcher.chunks``). Proxies of the environment are
left to the SDK's transport (``aar.researcher.providers``).
"""

from __future__ import annotations

import ssl
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import anyio.to_thread
import h11
import httpx2

from aar.researcher.chunks import Chunked, Counted, Framing, UntilClose
from aar.researcher.connection import Connection, connect

_KEPT_SECONDS = 4.0
"""Below the five seconds after which common servers close: a request that crosses a close is charged as billed."""
_PORTS = {"http": 80, "https": 443}
Origin = tuple[str, str, int]


class DirectTransport(httpx2.AsyncBaseTransport):
    """Connects straight to the service.

    Args:
        tls: for https; None makes one with the machine's certificates when it is first needed.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._idle: defaultdict[Origin, deque[Connection]] = defaultdict(deque)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """One request; its reply's body is read as it is asked for.

        Raises:
            httpx2.ConnectError, httpx2.ConnectTimeout: nothing was sent.
            httpx2.TransportError: the request may have been carried out.
        """
        bounds: dict[str, float | None] = request.extensions.get("timeout", {})
        origin = (request.url.scheme, request.url.host, request.url.port or _PORTS[request.url.scheme])
        wire = self._kept(origin) or await self._opened(origin, bounds.get("connect"))
        try:
            with _told_as_httpx():
                head = h11.Connection(h11.CLIENT)
                await _send(head, wire, request, bounds.get("write"))
                reply = await _reply(head, wire, bounds.get("read"))
                framing = _framing(request.method, reply)
                first = framing.feed(head.trailing_data[0])
        except BaseException:
            wire.close()
            raise
        idle = self._idle[origin] if _keeps(reply) else None
        body = _Body(wire, framing, first, bounds.get("read"), idle)
        return httpx2.Response(
            reply.status_code,
            headers=reply.headers.raw_items(),
            stream=body,
            extensions={"http_version": b"HTTP/" + reply.http_version, "reason_phrase": bytes(reply.reason)},
        )

    async def aclose(self) -> None:
        """Close the connections that are not in use."""
        for idle in self._idle.values():
            for wire in idle:
                wire.close()
        self._idle.clear()

    def _kept(self, origin: Origin) -> Connection | None:
        idle = self._idle[origin]
        while idle and time.monotonic() - idle[0].idle_since > _KEPT_SECONDS:
            idle.popleft().close()
        while idle:
            wire = idle.pop()
            if wire.reusable:
                return wire
            wire.close()
        return None

    async def _opened(self, origin: Origin, seconds: float | None) -> Connection:
        scheme, host, port = origin
        if scheme == "https" and self._tls is None:
            self._tls = await anyio.to_thread.run_sync(make_tls)
        try:
            return await connect(host, port, self._tls if scheme == "https" else None, seconds)
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(str(error) or f"no connection within {seconds} s") from error
        except OSError as error:
            raise httpx2.ConnectError(str(error)) from error


class _Body(httpx2.AsyncByteStream):
    """A reply's body; when it is whole its connection joins the idle ones, if it may, and else is closed."""

    def __init__(
        self,
        wire: Connection,
        framing: Framing,
        first: bytes,
        seconds: float | None,
        idle: deque[Connection] | None,
    ) -> None:
        self._wire = wire
        self._framing = framing
        self._first = first
        self._seconds = seconds
        self._idle = idle
        self._open = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        framing, data = self._framing, self._first
        try:
            while True:
                if data:
                    yield data
                if framing.done:
                    break
                with _told_as_httpx():
                    came = await self._wire.read(self._seconds)
                    if not came:
                        framing.end()
                        break
                    data = framing.feed(came)
            if framing.done and self._open and self._idle is not None and self._wire.reusable:
                self._open = False
                self._wire.idle_since = time.monotonic()
                self._idle.append(self._wire)
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Give up what is left of it, and its connection."""
        if self._open:
            self._open = False
            self._wire.close()


def make_tls() -> ssl.SSLContext:
    """The machine's certificates, for HTTP/1.1. Reads files: not for the loop."""
    context = httpx2.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def _send(head: h11.Connection, wire: Connection, request: httpx2.Request, seconds: float | None) -> None:
    target = request.url.raw_path
    event = h11.Request(method=request.method, target=target, headers=request.headers.raw)
    parts = [head.send(event) or b""]
    assert isinstance(request.stream, httpx2.AsyncByteStream)
    parts.extend([head.send(h11.Data(data=part)) or b"" async for part in request.stream])
    parts.append(head.send(h11.EndOfMessage()) or b"")
    await wire.write(b"".join(parts), seconds)


async def _reply(head: h11.Connection, wire: Connection, seconds: float | None) -> h11.Response:
    while True:
        event = head.next_event()
        if isinstance(event, h11.Response):
            return event
        if event is h11.NEED_DATA:
            data = await wire.read(seconds)
            if not data:
                raise httpx2.RemoteProtocolError("server disconnected without sending a response")
            head.receive_data(data)
        elif not isinstance(event, h11.InformationalResponse) or event.status_code == 101:
            raise httpx2.RemoteProtocolError(f"server answered with {event!r}")


def _framing(method: str, reply: h11.Response) -> Framing:
    headers = dict(reply.headers)
    if method == "HEAD" or reply.status_code in (204, 304):
        return Counted(0)
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return Chunked()
    if b"content-length" in headers:
        return Counted(int(headers[b"content-length"]))
    return UntilClose()


def _keeps(reply: h11.Response) -> bool:
    asked = [value.strip().lower() for name, value in reply.headers if name == b"connection"]
    return reply.http_version >= b"1.1" and b"close" not in b",".join(asked).replace(b" ", b"").split(b",")


@contextmanager
def _told_as_httpx() -> Iterator[None]:
    """What goes wrong on a connection in use, as the SDK knows it."""
    try:
        yield
    except TimeoutError as error:
        raise httpx2.ReadTimeout("the service was silent for too long") from error
    except OSError as error:
        raise httpx2.ReadError(str(error) or type(error).__name__) from error
    except (ValueError, h11.RemoteProtocolError) as error:
        raise httpx2.RemoteProtocolError(str(error)) from error
    except h11.LocalProtocolError as error:
        raise httpx2.LocalProtocolError(str(error)) from error
