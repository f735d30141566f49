"""An HTTP transport over aiohttp for the SDK's ``httpx2`` client.

The SDK's own transport builds an object for each chunk of a streamed reply and checks each connection of its pool at
each request. With hundreds of researchers this cost more than anything else. aiohttp parses in C and stores idle
connections by address. The ledger relies on one rule: an error before any of a request's body was sent is a
``ConnectError`` or ``ConnectTimeout``, and then nothing is charged; after that the request may have been carried out.
"""

from __future__ import annotations

import asyncio
import io
import ssl
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import aiohttp
import anyio.to_thread
import httpx2
from yarl import URL

from aar.errors import UsageError
from aar.llm.no_proxy import bypasses_proxy
from aar.llm.request import SEND_STATUS, SendStatus

_KEPT_SECONDS = 4.0
"""Below the five seconds after which common servers close a connection: a request that crosses a close is charged as
billed."""
_MOST_ERROR_BYTES = 256 * 1024
_ERROR_SECONDS = 15.0
_OF_A_BODY = (b"content-encoding", b"content-length", b"transfer-encoding")
_CHANGED_BY_NOBODY = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of an ``httpx2`` client over aiohttp.

    Args:
        trust_env: whether proxies of the environment are used.
        tls: for https; None makes one with the machine's certificates at its first use.
    """

    def __init__(self, *, trust_env: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self._trust_env = trust_env
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._proxies: dict[tuple[str, bytes], str | None] = {}

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
            with _told_as_httpx():
                async with asyncio.timeout(_until_an_answer(bounds)):
                    reply = await session.request(
                        request.method,
                        URL(str(request.url), encoded=True),
                        headers=[(name.decode("ascii"), text.decode("latin-1")) for name, text in request.headers.raw],
                        skip_auto_headers=_CHANGED_BY_NOBODY,
                        data=body,
                        allow_redirects=False,
                        proxy=self._proxy_for(request.url),
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
            connector = aiohttp.TCPConnector(ssl=tls, limit=0, keepalive_timeout=_KEPT_SECONDS)
            self._session = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _proxy_for(self, url: httpx2.URL) -> str | None:
        """Return the environment's proxy for an address.

        aiohttp would read it at each request together with ~/.netrc, whose passwords a model call must not use.
        """
        if not self._trust_env:
            return None
        key = (url.scheme, url.netloc)
        if key not in self._proxies:
            self._proxies[key] = proxy_from_environment(url.scheme, url.netloc.decode("ascii"))
        return self._proxies[key]


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
    headers = [(name, text) for name, text in reply.raw_headers if name.lower() not in _OF_A_BODY]
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
        with _told_as_httpx():
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


def proxy_from_environment(scheme: str, netloc: str) -> str | None:
    """Return the environment's proxy for an address, if any.

    Raises:
        UsageError: its kind is not supported; a direct connection without consent would be no better than a failure.
    """
    named = urllib.request.getproxies()
    if bypasses_proxy(named.get("no", ""), scheme, netloc):
        return None
    proxy = named.get(scheme) or named.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if not proxy.startswith(("http://", "https://")):
        kind = proxy.partition("://")[0]
        raise UsageError(
            f"unsupported proxy for {netloc}: got {kind}, expected http or https",
            f"Set {scheme.upper()}_PROXY to one, or name {netloc} in NO_PROXY",
        )
    return proxy


def _read_certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


@contextmanager
def _told_as_httpx() -> Iterator[None]:
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
