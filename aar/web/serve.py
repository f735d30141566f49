"""Serving the application: for ``aar serve``, and inside a running campaign's event loop.

Bind first, before anything is started or spent; then hand the socket to ``serve``::

    listener = bind("127.0.0.1", 8808)
    app = create_app(db, home=home, host="127.0.0.1")
    await serve(app, listener)
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Generator
from contextlib import contextmanager, nullcontext

import uvicorn
from fastapi import FastAPI

from aar.errors import PortTaken, UsageError
from aar.web.doorman import is_loopback

_GRACE_SECONDS = 3
_NEXT_PORTS = 20


def bind(host: str, port: int, *, next_free: bool = False) -> socket.socket:
    """Take an address to serve on.

    Args:
        host: name or address to listen on.
        port: 0 takes any free port.
        next_free: whether a taken port may be replaced by one of the twenty that follow.

    Raises:
        PortTaken: the port is in use (and so are the following ones, where those would do).
        UsageError: the host is not an address of this machine, or the port not allowed.
    """
    last = port + (_NEXT_PORTS if next_free and port else 0)
    for each in range(port, min(last, 65535) + 1):
        try:
            return _listen(host, each)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            raise UsageError(
                f"cannot listen on {host} port {each}: {error.strerror or error}",
                "Use a host of this machine, such as 127.0.0.1, and a port from 1024 on",
            ) from error
    span = f"port {port}" if last == port else f"every port from {port} to {last}"
    raise PortTaken(f"{span} of {host} is in use", "Choose another with --port, or --port 0 for any free one")


def address_of(listener: socket.socket, host: str) -> str:
    """The address that a person opens, such as ``http://127.0.0.1:8808``."""
    name = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)  # noqa: S104 - compared only
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}"


def notice(host: str, token_file: str) -> str:
    """What to say at the start about who may do what."""
    if is_loopback(host):
        return (
            "on this machine anybody may read what researchers may, as long as nobody from outside takes part; to read "
            f"all and to act, log in at /login with the token in {token_file}"
        )
    return (
        f"reachable from other machines: every request needs the token in {token_file}, or the viewer's beside it, "
        "which only reads (a browser logs in at /login). Without TLS in front, they cross the network readable"
    )


async def serve(app: FastAPI, listener: socket.socket, *, handle_signals: bool = False) -> None:
    """Serve until cancelled, then close every stream and connection and return the listener's port.

    Args:
        app: from ``create_app``.
        listener: from ``bind``; closed at the end.
        handle_signals: whether Ctrl-C and SIGTERM end the server (``aar serve``); inside a campaign they are the
            controller's.
    """
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_SECONDS, lifespan="on", ws="none"
    )
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
        """Leave signals to the controller where there is one."""
        with super().capture_signals() if self._handle_signals else nullcontext():
            yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams first: uvicorn waits for open responses."""
        self._app.state.aar.feed.close()
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off for sockets that name TCP only; with it on, each answer waits 40 ms for an ACK
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
