"""The way onto the wire: what went wrong before a request was sent is told from what went wrong after."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from aar.errors import UsageError
from aar.llm.aiohttp_transport import AiohttpClient
from aar.llm.endpoints import ModelEndpoint, open_client

pytestmark = pytest.mark.anyio
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://localhost:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def answering(*replies: bytes, connections: list[int] | None = None) -> Handler:
    """Answers a connection's requests one after the other, then closes it."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if connections is not None:
            connections.append(0)
        for reply in replies:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"content-length:" in head:
                await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            if connections is not None:
                connections[-1] += 1
            writer.write(reply)
            await writer.drain()

    return handler


def client(**options: object) -> httpx2.AsyncClient:
    return AiohttpClient(**{"trust_env": False, "timeout": 5.0, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "reply",
    [
        HEAD + b"content-length: 5\r\n\r\nhello",
        HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        HEAD + b"connection: close\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"content-length: 5\r\n\r\nhello",
    ],
)
async def test_bodies_of_all_kinds(reply: bytes) -> None:
    async with serving(answering(reply)) as url, client() as http:
        assert (await http.post(url, content=b"x" * 3_000_000)).text == "hello"


async def test_a_connection_is_used_again_and_not_once_it_closed() -> None:
    reply = HEAD + b"content-length: 2\r\n\r\nok"
    connections: list[int] = []
    answer = answering(reply, reply, reply, connections=connections)
    closes = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(reader, writer)
        closes.set()

    async with serving(handler) as url, client() as http:
        for _ in range(3):
            assert (await http.get(url)).text == "ok"
        assert connections == [3]
        await closes.wait()
        for _ in range(10):  # the server aborts it, and the client's end of it, in the same loop, hears of that
            await asyncio.sleep(0)
        assert (await http.get(url)).text == "ok"
        assert connections == [3, 1]


async def test_a_reply_given_up_half_way_takes_its_connection_along() -> None:
    reply = HEAD + b"content-length: 100\r\n\r\npart"
    connections: list[int] = []
    async with serving(answering(reply, reply, connections=connections)) as url, client() as http:
        for _ in range(2):
            async with http.stream("GET", url) as streamed:
                async for piece in streamed.aiter_bytes():
                    assert piece == b"part"
                    break
        assert connections == [1, 1]


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"nonsense\r\n\r\n",
        HEAD + b"content-length: 5\r\n\r\nhe",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nhello\r\n",
    ],
)
async def test_a_broken_reply_is_told_from_one_never_asked_for(reply: bytes) -> None:
    async with serving(answering(reply)) as url, client() as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.get(url)
    async with client() as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(url)


async def test_an_answer_before_the_request_was_read_is_heard() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 X\r\ncontent-length: 8\r\n\r\ntoo long")
        await writer.drain()
        await asyncio.sleep(60)

    async with serving(handler) as url, client() as http:
        assert (await http.post(url, content=b"x" * 30_000_000)).status_code == 413


async def test_silence_has_an_end() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"content-length: 5\r\n\r\nhe")
        await asyncio.sleep(60)

    async with serving(handler) as url, client() as http:
        with pytest.raises(httpx2.ReadTimeout):
            await http.get(url, timeout=0.2)


async def test_a_long_reply_waits_for_a_slow_reader() -> None:
    size = 20_000_000
    reply = HEAD + b"content-length: %d\r\n\r\n" % size + b"y" * size
    async with serving(answering(reply)) as url, client() as http, http.stream("GET", url) as streamed:
        await asyncio.sleep(0.1)
        assert sum([len(piece) async for piece in streamed.aiter_bytes()]) == size


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "crt")]
    subprocess.run([*made, *files, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return tmp_path


async def test_the_certificate_counts(certificate: Path) -> None:
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(certificate / "crt", certificate / "key")
    reply = HEAD + b"content-length: 2\r\n\r\nok"
    async with serving(answering(reply, reply), tls=own) as url:
        trusting = ssl.create_default_context(cafile=str(certificate / "crt"))
        async with client(tls=trusting) as http:
            assert (await http.get(url)).text == "ok"
            assert (await http.post(url, content=b"x" * 1_000_000)).text == "ok"
        async with client() as http:
            with pytest.raises(httpx2.ConnectError, match="certificate"):
                await http.get(url)


async def test_a_request_that_nobody_reads_has_an_end() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with serving(handler) as url, client() as http:
        with pytest.raises(httpx2.ReadTimeout):
            await http.post(url, content=b"x" * 30_000_000, timeout=0.2)


@pytest.mark.parametrize("reply", [b"HTTP/1.1 407 X\r\ncontent-length: 0\r\n\r\n", b"", None])
async def test_what_a_proxy_never_passed_on_was_not_sent(reply: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    handler = silent if reply is None else answering(*[reply] * bool(reply))
    async with serving(handler) as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        http = client(trust_env=True)
        with pytest.raises((httpx2.ConnectError, httpx2.ConnectTimeout)):
            await asyncio.wait_for(http.post("https://service.invalid/", content=b"x", timeout=0.2), 10)
        await http.aclose()


@pytest.mark.parametrize(
    ("named", "passes"),
    [
        ({"HTTP_PROXY": "http://me:word@{}"}, True),
        ({"ALL_PROXY": "{}"}, True),
        ({"HTTP_PROXY": "http://{}", "NO_PROXY": "service.invalid"}, False),
    ],
)
async def test_proxies_of_the_environment(named: dict[str, str], passes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).lower())
        writer.write(HEAD + b"content-length: 2\r\n\r\nok")
        await writer.drain()

    async with serving(proxy) as url:
        for name, value in named.items():
            monkeypatch.setenv(name, value.format(url.removeprefix("http://").rstrip("/")))
        async with client(trust_env=True) as http:
            if not passes:
                with pytest.raises(httpx2.ConnectError):
                    await http.get("http://service.invalid/x")
                return
            assert (await http.get("http://service.invalid/x")).text == "ok"
    assert heads[0].startswith(b"get http://service.invalid/x ")
    assert (b"proxy-authorization: basic" in heads[0]) == ("me:word" in str(named))


async def test_passwords_of_netrc_are_nobodys_business(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login me password word\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            heads.append(head.lower())
            writer.write(HEAD + b"content-length: 2\r\n\r\nok")

    async with serving(handler) as url, client(trust_env=True) as http:
        await http.get(url)
        await http.get(url, headers={"Authorization": "Bearer own"})
    assert b"authorization" not in heads[0]
    assert b"authorization: bearer own" in heads[1]


def test_a_proxy_of_another_kind_is_named_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("all_proxy", "socks5://user:secret@127.0.0.1:1080")
    with pytest.raises(UsageError, match=r"proxy for api\.anthropic\.com: got socks5") as refused:
        open_client(ModelEndpoint(), 5.0)
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("all_proxy", "ftp://127.0.0.1:1080")
    with pytest.raises(UsageError, match="invalid proxy"):
        open_client(ModelEndpoint(), 5.0)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    monkeypatch.setenv("no_proxy", "api.anthropic.com")
    assert open_client(ModelEndpoint(), 5.0) is not None
