"""A request's method, path and headers: key, API version, betas."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

_SECRET = frozenset({"authorization", "x-api-key", "cookie", "proxy-authorization"})


class RequestHeaders:
    """The method, path and headers of an ASGI scope."""

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"].rstrip("/")
        self.query: bytes = scope.get("query_string", b"")
        self._headers: dict[str, str] = {}
        for raw_name, raw_value in scope["headers"]:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            # A header that comes twice is one list.
            self._headers[name] = f"{self._headers[name]},{value}" if name in self._headers else value

    @property
    def key(self) -> str:
        """The API key.

        ``x-api-key`` takes precedence over ``Authorization: Bearer``, as at the service.
        """
        bearer = self._headers.get("authorization", "")
        return self._headers.get("x-api-key") or (bearer[7:].strip() if bearer.lower().startswith("bearer ") else "")

    @property
    def version(self) -> str:
        """The ``anthropic-version`` header; empty when absent."""
        return self._headers.get("anthropic-version", "")

    @property
    def betas(self) -> frozenset[str]:
        """Values of the ``anthropic-beta`` header."""
        names = self._headers.get("anthropic-beta", "").split(",")
        return frozenset(name.strip() for name in names if name.strip())

    @property
    def beta(self) -> bool:
        """True for the SDK's beta client, which adds it to the query."""
        return parse_qs(self.query.decode("latin-1")).get("beta") == ["true"]

    def key_headers(self) -> Mapping[str, str]:
        """Return the headers with the key, to be passed on."""
        return {name: self._headers[name] for name in ("authorization", "x-api-key") if name in self._headers}

    def shown_headers(self) -> Mapping[str, str]:
        """Return the headers without those that contain a key."""
        return {name: value for name, value in self._headers.items() if name not in _SECRET}
