"""Binds the listen address, before anything is started and without loading a server."""

from __future__ import annotations

import errno
import ipaddress
import socket

from aar.errors import PortTaken, UsageError

_NEXT_PORTS = 20


def is_loopback(host: str) -> bool:
    """Returns True if a listen address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bind_listener(host: str, port: int, *, next_free: bool = False) -> socket.socket:
    """Binds an address to serve on.

    Args:
        host: name or address to listen on.
        port: 0 takes any free port.
        next_free: True if one of the twenty following ports may replace a taken one.

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


def page_address(listener: socket.socket, host: str) -> str:
    """Returns the address that a person opens, such as ``http://127.0.0.1:8808``."""
    name = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)  # noqa: S104 - compared only
    return f"http://{f'[{name}]' if ':' in name else name}:{listener.getsockname()[1]}"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only for sockets that name TCP; otherwise each response waits 40 ms for an ACK
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
