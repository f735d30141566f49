"""A request to the Messages API: its parser, its headers, and the errors that refuse it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

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


Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ContentBlock:
    """A content block and its place in the request, such as ``messages.3.content.0``."""

    data: Mapping[str, Any]
    at: str

    @property
    def kind(self) -> str:
        """The block's type."""
        return str(self.data["type"])


@dataclass(frozen=True, slots=True)
class Message:
    """A message.

    Consecutive messages of one role count as one, as at the service.
    """

    role: str
    blocks: tuple[ContentBlock, ...]
    at: str


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """A request to the Messages API.

    Args:
        body: the request as sent.
        system, tools, messages: its parts, parsed.
        betas: values of the ``anthropic-beta`` header.
        key: the API key that came with it; empty when none did.
        number: the number of earlier requests.
    """

    body: Mapping[str, Any]
    system: tuple[ContentBlock, ...]
    tools: tuple[Mapping[str, Any], ...]
    messages: tuple[Message, ...]
    betas: frozenset[str] = frozenset()
    key: str = field(default="", repr=False)
    number: int = 0

    @property
    def model(self) -> str:
        """The requested model id."""
        return str(self.body["model"])

    @property
    def max_tokens(self) -> int:
        """Limit of the reply. 0 when only tokens are counted."""
        return int(self.body.get("max_tokens", 0))

    @property
    def stream(self) -> bool:
        """True if the response is streamed."""
        return bool(self.body.get("stream", False))

    @property
    def turns(self) -> int:
        """The number of assistant messages so far, for scripts without memory."""
        return sum(message.role == "assistant" for message in self.messages)

    @property
    def system_text(self) -> str:
        """The system prompt as one text."""
        return "\n".join(str(block.data["text"]) for block in self.system)

    @property
    def last_text(self) -> str:
        """The texts of the last message, one a line."""
        return "\n".join(str(b.data["text"]) for b in self.messages[-1].blocks if b.kind == "text")

    def results(self) -> list[Mapping[str, Any]]:
        """Return the tool results of the last message."""
        return [block.data for block in self.messages[-1].blocks if block.kind == "tool_result"]

    def blocks(self) -> Iterator[ContentBlock]:
        """Content blocks of all messages, in order."""
        for message in self.messages:
            yield from message.blocks


def read_json(body: bytes) -> Json:
    """Parse the body as an object. Raises ApiError when it is none."""
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise invalid_request(f"The request body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise invalid_request("The request body must be a JSON object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def read_request(
    body: Mapping[str, Any], *, betas: frozenset[str] = frozenset(), key: str = "", number: int = 0
) -> MessagesRequest:
    """Parse an unvalidated request.

    Raises:
        ApiError: a part that every request has is missing or of the wrong kind.
    """
    if not isinstance(body.get("model"), str):
        raise invalid_request(
            "model: Field required" if "model" not in body else "model: Input should be a valid string"
        )
    tools = tuple(_objects(body.get("tools") or [], "tools"))
    messages = _objects(body["messages"] if "messages" in body else _missing("messages"), "messages")
    if not messages:
        raise invalid_request("messages: at least one message is required")
    return MessagesRequest(
        body=body,
        system=_blocks(body.get("system") or [], "system"),
        tools=tools,
        messages=_merged(messages),
        betas=betas,
        key=key,
        number=number,
    )


def _missing(name: str) -> Any:
    raise invalid_request(f"{name}: Field required")


def _objects(value: Any, at: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list):
        raise invalid_request(f"{at}: Input should be a valid list")
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise invalid_request(f"{at}.{index}: Input should be a valid dictionary")
    return value


def _merged(messages: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
    merged: list[Message] = []
    for index, message in enumerate(messages):
        role, at = message.get("role"), f"messages.{index}"
        if role not in ("user", "assistant", "system"):
            raise invalid_request(f"{at}.role: Input should be 'user', 'assistant' or 'system'")
        if "content" not in message:
            raise invalid_request(f"{at}.content: Field required")
        blocks = _blocks(message["content"], f"{at}.content")
        if not blocks:
            raise invalid_request(f"{at}: all messages must have non-empty content")
        if merged and merged[-1].role == role:
            merged[-1] = Message(role, merged[-1].blocks + blocks, merged[-1].at)
        else:
            merged.append(Message(role, blocks, at))
    return tuple(merged)


_NEEDED = {
    "text": (("text", str),),
    "thinking": (("thinking", str), ("signature", str)),
    "redacted_thinking": (("data", str),),
    "tool_use": (("id", str), ("name", str), ("input", dict)),
    "server_tool_use": (("id", str), ("name", str), ("input", dict)),
    "tool_result": (("tool_use_id", str),),
    "image": (("source", dict),),
}
"""Required fields, even if the SDK's types are not checked."""


def _blocks(content: Any, at: str) -> tuple[ContentBlock, ...]:
    if isinstance(content, str):
        return (ContentBlock({"type": "text", "text": content}, at),) if content else ()
    blocks = tuple(ContentBlock(item, f"{at}.{index}") for index, item in enumerate(_objects(content, at)))
    for block in blocks:
        _check_block(block.data, block.at)
    return blocks


def _check_block(data: Mapping[str, Any], at: str) -> None:
    kind = data.get("type")
    if not isinstance(kind, str):
        raise invalid_request(f"{at}.type: Field required")
    for name, of in _NEEDED.get(kind, ()):
        if name not in data:
            raise invalid_request(f"{at}.{kind}.{name}: Field required")
        if not isinstance(data[name], of):
            raise invalid_request(
                f"{at}.{kind}.{name}: Input should be a valid {'dictionary' if of is dict else 'string'}"
            )
    inner = data.get("content")
    if kind == "tool_result" and inner is not None and not isinstance(inner, str):
        for index, item in enumerate(_objects(inner, f"{at}.content")):
            _check_block(item, f"{at}.content.{index}")


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
