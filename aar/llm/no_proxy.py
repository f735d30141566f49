"""Parses ``NO_PROXY``: decides which addresses skip the environment's proxies, like the SDK's client.

An entry is a name, which includes its subdomains; a name after ``*.`` or a dot, which means only these; an address or a
network. Each may have a port, and then holds for that port only, and ``http://`` or ``https://``, and then holds for
that scheme only. ``*`` exempts everything. Invalid entries are ignored.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

_PORTS = {"http": 80, "https": 443}


def bypasses_proxy(entries: str, scheme: str, netloc: str) -> bool:
    """Return whether an address is reached without a proxy.

    Args:
        entries: the value of ``NO_PROXY``.
        scheme: ``http`` or ``https``.
        netloc: host, and port if it is not the scheme's own.
    """
    asked = urlsplit(f"{scheme}://{netloc}")
    listed = [entry.strip() for entry in entries.split(",")]
    return "*" in listed or any(_names(entry, asked) for entry in listed if entry)


def _names(entry: str, asked: SplitResult) -> bool:
    scheme, _, rest = entry.rpartition("://")
    if scheme and scheme not in ("all", asked.scheme):
        return False
    network = _network(rest)
    if network is not None:
        address = _address(asked.hostname or "")
        return address is not None and address in network
    try:
        named = urlsplit(f"//{rest}")
        host, port = named.hostname or "", named.port
    except ValueError:
        return False
    if named.path:
        return False
    # A scheme's default port equals no port. Without a scheme no port is a default.
    wanted, there = (
        None if each == _PORTS.get(own) else each for each, own in ((port, scheme), (asked.port, asked.scheme))
    )
    if wanted is not None and wanted != there:
        return False
    return _is_named(host, asked.hostname or "", exact=bool(scheme))


def _is_named(host: str, asked: str, *, exact: bool) -> bool:
    if not host or host == "*":
        return exact
    if host.startswith(("*.", ".")):
        return asked.endswith("." + host.lstrip("*").lstrip("."))
    if exact or host == "localhost" or _address(host) is not None:
        return asked == host
    return asked == host or asked.endswith(f".{host}")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Parse a network, or an address as a network; None for anything else."""
    address, slash, bits = text.partition("/")
    if slash and not bits.isdigit():
        return None
    try:
        return ipaddress.ip_network(f"{address.removeprefix('[').removesuffix(']')}{slash}{bits}", strict=False)
    except ValueError:
        return None


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
