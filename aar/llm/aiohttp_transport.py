"""An ``httpx2`` client over aiohttp for the SDK.

The SDK's own transport builds an object for each chunk of a streamed reply and checks each connection of its pool at
each request. With hundreds of researchers this cost more than anything else. aiohttp parses in C and stores idle
connections by address. The ledger relies on one rule: an error before any of a request's body was sent is a
``ConnectError`` or ``ConnectTimeout``, and then nothing is charged; after that the request may have been carried out.

The SDK's ``DefaultAioHttpClient`` (anthropic 2.14) breaks that rule and others, so it is not used; 13 of this module's
24 tests failed with it. A connection that a server closes without an answer, after it read the request, is a
``ConnectError`` there. A request that nobody reads never ends. A long body is sent in one piece, which blocks the loop.
It would save nothing: 6.0 to 6.8 ms CPU a turn, against 5.3 to 6.8 here (``benchmarks/turn_cost.py 40 4``).
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aiohttp
import anyio.to_thread
import httpx2
from yarl import URL

from aar.errors import UsageError
from aar.llm.request import SEND_STATUS, SendStatus

_IDLE_SECONDS = 4.0
"""Below the five seconds after which common servers close a connection: a request that crosses a close is charged as
billed."""
_MOST_ERROR_BYTES = 256 * 1024
_ERROR_SECONDS = 15.0
_BODY_HEADERS = (b"content-encoding", b"content-length", b"transfer-encoding")
_UNCHANGED_HEADERS = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class AiohttpClient(httpx2.AsyncClient):
    """Sends requests over aiohttp, and through the environment's proxies as every ``httpx2`` client does.

    Args:
        tls: for https; None makes one with the machine's certificates at its first use.
        options: of ``httpx2.AsyncClient``.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, **options: Any) -> None:
        self._tls = tls
        super().__init__(**options)

    def check_proxy(self, url: str) -> None:
        """Check that a request to an address can be sent.

        Raises:
            UsageError: its proxy's kind is not supported; a direct connection without consent would be no better than a
                failure.
        """
        address = httpx2.URL(url)
        transport = self._transport_for_url(address)
        kind = transport.proxy.url.scheme if isinstance(transport, AiohttpTransport) and transport.proxy else "http"
        if kind not in ("http", "https"):
            raise UsageError(
                f"unsupported proxy for {address.netloc.decode()}: got {kind}, expected http or https",
                f"Set {address.scheme.upper()}_PROXY to one, or name {address.netloc.decode()} in NO_PROXY",
            )

    def _init_transport(self, *_: Any, **__: Any) -> httpx2.AsyncBaseTransport:
        return AiohttpTransport(tls=self._tls)

    def _init_proxy_transport(self, proxy: httpx2.Proxy, *_: Any, **__: Any) -> httpx2.AsyncBaseTransport:
        return AiohttpTransport(proxy, tls=self._tls)


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of an ``AiohttpClient``.

    Args:
        proxy: passes them on.
        tls: for https; None makes one with the machine's certificates at its first use.
    """

    def __init__(self, proxy: httpx2.Proxy | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.proxy = proxy
        self._proxy_url = None if proxy is None else URL(str(proxy.url))
        if proxy is not None and proxy.auth is not None and self._proxy_url is not None:
            self._proxy_url = self._proxy_url.with_user(proxy.auth[0]).with_password(proxy.auth[1])
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; the body of its reply is read on demand.

        Raises:
            httpx2.ConnectError, httpx2.ConnectTimeout: nothing was sent.
            httpx2.TransportError: the request may have been carried out.
        """
        session = self._session or await self._opened()
        bounds: dict[str, float | None] = request.extensions.get("timeout", {})
        # Connecting includes everything before: the name, a proxy's permission, the certificate.
        timeout = aiohttp.ClientTimeout(total=None, connect=bounds.get("connect"), sock_read=bounds.get("read"))
        body = _Outgoing(await request.aread(), SEND_STATUS.get())
        try:
            with _httpx_errors():
                async with asyncio.timeout(_until_an_answer(bounds)):
                    reply = await session.request(
                        request.method,
                        URL(str(request.url), encoded=True),
                        headers=[(name.decode("ascii"), text.decode("latin-1")) for name, text in request.headers.raw],
                        skip_auto_headers=_UNCHANGED_HEADERS,
                        data=body,
                        allow_redirects=False,
                        proxy=self._proxy_url,
                        timeout=timeout,
                    )
        except httpx2.TransportError as error:
            if body.begun or isinstance(error, httpx2.ConnectTimeout):
                raise
            raise httpx2.ConnectError(str(error)) from error
        if reply.status >= 300:
            return await _whole_error(reply)
        return httpx2.Response(reply.status, headers=list(reply.raw_headers), stream=_Body(reply))

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _opened(self) -> aiohttp.ClientSession:
        tls = self._tls if self._tls is not None else await anyio.to_thread.run_sync(_read_certificates)
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=tls, limit=0, keepalive_timeout=_IDLE_SECONDS)
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


async def _whole_error(reply: aiohttp.ClientResponse) -> httpx2.Response:
    """Return an error reply with as much of its body as can be read.

    Its status says enough. A broken body must not turn a refused call into one that may be billed.
    """
    read = bytearray()
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_ERROR_SECONDS):
            async for data in reply.content.iter_any():
                read += data
                if len(read) > _MOST_ERROR_BYTES:
                    break
    reply.close()
    headers = [(name, text) for name, text in reply.raw_headers if name.lower() not in _BODY_HEADERS]
    packed = [(name, text) for name, text in reply.raw_headers if name.lower() == b"content-encoding"]
    try:
        return httpx2.Response(reply.status, headers=[*headers, *packed], content=bytes(read[:_MOST_ERROR_BYTES]))
    except httpx2.DecodingError:
        return httpx2.Response(reply.status, headers=headers)


class _Outgoing(io.BytesIO):
    """A request's body that records whether any of it was taken to be sent."""

    def __init__(self, data: bytes, status: SendStatus | None) -> None:
        super().__init__(data)
        self.begun = False
        self._status = status

    def read(self, size: int | None = -1, /) -> bytes:
        self.begun = True
        if self._status is not None:
            self._status.sent = True
        return super().read(size)


class _Body(httpx2.AsyncByteStream):
    """A reply's body; closing it early closes its connection."""

    def __init__(self, reply: aiohttp.ClientResponse) -> None:
        self._reply = reply

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for data in self._reply.content.iter_any():
                yield data

    async def aclose(self) -> None:
        """Discard the rest of the body."""
        self._reply.close()


def _until_an_answer(bounds: dict[str, float | None]) -> float | None:
    """Return the seconds for sending a request until its reply begins.

    Aiohttp has no limit for sending.
    """
    connect, write, read = (bounds.get(name) for name in ("connect", "write", "read"))
    return None if connect is None or write is None or read is None else connect + write + read


def _read_certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


@contextmanager
def _httpx_errors() -> Iterator[None]:
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise httpx2.ConnectTimeout(str(error)) from error
    except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
        raise httpx2.ConnectError(str(error)) from error
    except TimeoutError as error:
        raise httpx2.ReadTimeout("the service was silent for too long") from error
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, aiohttp.ClientResponseError) as error:
        raise httpx2.RemoteProtocolError(str(error)) from error
    except (aiohttp.ClientError, OSError) as error:
        raise httpx2.ReadError(str(error) or type(error).__name__) from error
