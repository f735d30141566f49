"""Errors of the Messages API: a status, a type and a message in one envelope."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

KINDS: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Error type by HTTP status, as the service pairs them."""

_WORDS: Mapping[int, str] = {
    401: "invalid x-api-key",
    403: "Your API key does not have permission to use the specified resource.",
    413: "Request exceeds the maximum size",
    429: "This request would exceed your organization's rate limit. Please try again later.",
    500: "Internal server error",
    529: "Overloaded",
}


class ApiError(Exception):
    """A request fails with an error of the API.

    Args:
        status: HTTP status.
        message: the error's text; empty means the service's text for that status.
        headers: further headers of the response, such as ``retry-after``.
        kind: the error's type; empty follows from the status.
        details: the error's machine-readable part, such as its ``error_code``.
    """

    def __init__(
        self,
        status: int,
        message: str = "",
        headers: Mapping[str, str] | None = None,
        kind: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.status = status
        self.kind = kind or KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        self.message = message or _WORDS.get(status, self.kind)
        self.headers = dict(headers or {})
        self.details = details
        super().__init__(self.message)

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the error's envelope."""
        error: dict[str, Any] = {"type": self.kind, "message": self.message}
        if self.details is not None:
            error["details"] = dict(self.details)
        return {"type": "error", "error": error, "request_id": request_id}


def invalid_request(message: str) -> ApiError:
    """Return the error for an invalid request: status 400, ``invalid_request_error``."""
    return ApiError(400, message)


def new_request_id() -> str:
    """Return a new id in the format of the ``request-id`` header."""
    return f"req_{secrets.token_hex(12)}"
