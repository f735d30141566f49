"""The fake server: an ASGI application that serves ``/v1/messages`` from a model backend."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote

from aar.testing.fake_messages_api.faults import FaultSource, HttpError, error_of_fault
from aar.testing.fake_messages_api.model_backends import ModelBackend, as_model
from aar.testing.fake_messages_api.model_specs import model_entry
from aar.testing.fake_messages_api.pipeline import RequestPipeline
from aar.testing.fake_messages_api.prompt_cache import PromptCache
from aar.testing.fake_messages_api.replies import ModelReply, VerbatimResponse
from aar.testing.fake_messages_api.request import (
    ApiError,
    Json,
    MessagesRequest,
    RequestHeaders,
    new_request_id,
    read_json,
    read_request,
)
from aar.testing.fake_messages_api.thinking import ThinkingSigner
from aar.testing.fake_messages_api.transport import (
    ClientGone,
    Receive,
    ResponseChannel,
    Scope,
    Send,
    deliver_message,
    deliver_stream,
    json_bytes,
    message_events,
)

MOST_BODY_BYTES = 32 * 1024 * 1024
"""Longest request of the Messages API, in bytes."""
_SIGNING_KEY = b"a double of the Messages API signs with this"
_JSON = {"content-type": "application/json"}
_UNPLAYED = ("container", "fallbacks", "mcp_servers")
_THREADLESS = {"error_code": "thread_unsupported_request", "unsupported": []}
"""The SDK's tool runner asks for threads of the server first, and goes on without them after this error."""


@dataclass(slots=True)
class RecordedExchange:
    """A request and its result, for tests.

    No key is in it.

    Args:
        number: the number of earlier requests for a message.
        path: "/v1/messages" or "/v1/messages/count_tokens".
        body: the request.
        headers: of the request, lower case, without those that carry a key.
        status: of the response; 0 while there is none.
        answer: the message, the count or the error.
        fault: the injected fault, by the name of its class.
    """

    number: int
    path: str
    body: Json
    headers: Mapping[str, str]
    status: int = 0
    answer: Json | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ServerRules:
    """Acceptance rules of a fake server.

    Args:
        models: model ids that it serves; None is any.
        keys: API keys that it accepts; None accepts any key, or none.
        strict: check requests against the types of the installed SDK (imports it: two seconds, once).
        most_bytes: longest request.
        at_once: concurrent requests before the next one gets 429; None is any number.
        retry_after: seconds that such a 429 asks to wait.
    """

    models: Collection[str] | None = None
    keys: Collection[str] | None = None
    strict: bool = True
    most_bytes: int = MOST_BODY_BYTES
    at_once: int | None = None
    retry_after: float = 1.0


class FakeMessagesApi:
    """A server that implements the Messages API in front of a model backend.

    Args:
        model: a ``ModelBackend``, a list of answers in order, or a function of the request.
        rules: its acceptance rules.
        faults: the faults to inject, and their times.
        clock: monotonic seconds, for the lifetimes of the prompt cache.
        most_logged: exchanges stored in ``requests``, with their bodies; the oldest are dropped first.
        signing_key: for the signatures of thinking; a server with the same key recognises another's blocks.
    """

    def __init__(
        self,
        model: ModelBackend | Sequence[Answer | str] | Callable[[MessagesRequest], Any],
        *,
        rules: ServerRules | None = None,
        faults: FaultSource | None = None,
        clock: Callable[[], float] = time.monotonic,
        most_logged: int = 200,
        signing_key: bytes = _SIGNING_KEY,
    ) -> None:
        self.rules = rules or ServerRules()
        self.faults = faults
        self.requests: deque[RecordedExchange] = deque(maxlen=most_logged)
        self._answering = RequestPipeline(as_model(model), PromptCache(clock), ThinkingSigner(signing_key))
        self._asked = 0
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve an ASGI connection."""
        if scope["type"] != "http":
            raise NotImplementedError(f"the fake server speaks HTTP, not {scope['type']}")
        call = _Call(RequestHeaders(scope), ResponseChannel(scope, receive, send), new_request_id())
        try:
            await self._route(call)
        except ClientGone:
            return
        except ApiError as refusal:
            await call.refuse(refusal)
        except ConnectionError:
            raise
        except Exception as error:
            if not call.channel.started:
                # The traceback goes to the server's log; the caller gets the envelope.
                await call.refuse(ApiError(500, f"{type(error).__name__}: {error}", {"x-should-retry": "false"}))
            raise

    async def _route(self, call: _Call) -> None:
        path, method = call.incoming.path, call.incoming.method
        if path == "/v1/models" and method == "GET":
            await call.send(200, self._listed())
        elif path.startswith("/v1/models/") and method == "GET":
            await self._admitted(call)
            await call.send(200, self._told(unquote(path.removeprefix("/v1/models/"))))
        elif path in ("/v1/messages", "/v1/messages/count_tokens") and method == "POST":
            await self._asked_for(call, counting=path != "/v1/messages")
        elif path in ("/v1/models", "/v1/messages", "/v1/messages/count_tokens"):
            raise ApiError(405, "Method not allowed")
        else:
            raise ApiError(404, "Not found")

    async def _asked_for(self, call: _Call, *, counting: bool) -> None:
        incoming = call.incoming
        body = read_json(await self._admitted(call))
        number = self._asked
        call.exchange = RecordedExchange(number, incoming.path, body, incoming.shown_headers())
        self.requests.append(call.exchange)
        self._check_shape(body, incoming, counting)
        request = read_request(body, betas=incoming.betas, key=incoming.key, number=number)
        if counting:
            await call.send(200, self._answering.count(request))
            return
        # Nothing was awaited since the number was read, so no two requests share one.
        self._asked += 1
        if self.rules.at_once is not None and self._in_flight >= self.rules.at_once:
            raise error_of_fault(HttpError(429, retry_after=self.rules.retry_after))
        self._in_flight += 1
        try:
            await self._answer(call, request, call.exchange)
        finally:
            self._in_flight -= 1

    async def _admitted(self, call: _Call) -> bytes:
        """Return the request's body, once its headers are valid."""
        raw = await call.channel.body(self.rules.most_bytes)
        if self.rules.keys is not None and call.incoming.key not in self.rules.keys:
            raise ApiError(401)
        if self.rules.strict and not call.incoming.version:
            raise ApiError(400, "anthropic-version: header is required")
        return raw

    def _check_shape(self, body: Json, incoming: RequestHeaders, counting: bool) -> None:
        known = self.rules.models
        if known is not None and isinstance(body.get("model"), str) and body["model"] not in known:
            raise ApiError(404, f"model: {body['model']}")
        if not counting and not isinstance(body.get("max_tokens"), int):
            raise ApiError(400, "max_tokens: Field required")
        if body.get("thread"):
            raise ApiError(400, "thread: not supported", details=_THREADLESS)
        for name in _UNPLAYED:
            if body.get(name):
                raise ApiError(400, f"{name}: this fake server does not support it")
        if self.rules.strict:
            from aar.testing.fake_messages_api.validation import validate_body

            beta = incoming.beta or bool(incoming.betas)
            validate_body(body, counting=counting, beta=beta, version=incoming.version)

    async def _answer(self, call: _Call, request: MessagesRequest, exchange: RecordedExchange) -> None:
        prompt = self._answering.prepare(request)
        fault = self.faults(request) if self.faults is not None else None
        exchange.fault = type(fault).__name__ if fault is not None else ""
        if isinstance(fault, HttpError):
            raise error_of_fault(fault)
        answered = await self._answering.answer(prompt, fault)
        headers = {"request-id": call.request_id}
        if isinstance(answered, VerbatimResponse):
            exchange.status = answered.status
            await call.channel.whole(answered.status, answered.body, {**headers, **answered.headers})
            return
        exchange.status, exchange.answer = 200, answered.message
        if request.stream:
            events = message_events(answered.message, answered.parts)
            await deliver_stream(call.channel, events, headers, call.request_id, fault)
        else:
            await deliver_message(call.channel, answered.message, headers, fault)

    def _told(self, model: str) -> Json:
        if self.rules.models is not None and model not in self.rules.models:
            raise ApiError(404, f"model: {model}")
        return model_entry(model)

    def _listed(self) -> Json:
        names = list(self.rules.models or ())
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return {"data": [model_entry(name) for name in names], "has_more": False, **ends}


@dataclass(slots=True)
class _Call:
    """One HTTP request on its way through the fake server."""

    incoming: RequestHeaders
    channel: ResponseChannel
    request_id: str
    exchange: RecordedExchange | None = None

    async def send(self, status: int, body: Json, headers: Mapping[str, str] | None = None) -> None:
        if self.exchange is not None:
            self.exchange.status, self.exchange.answer = status, body
        await self.channel.whole(status, json_bytes(body), {**_JSON, "request-id": self.request_id, **(headers or {})})

    async def refuse(self, refusal: ApiError) -> None:
        await self.send(refusal.status, refusal.body(self.request_id), refusal.headers)


Answer: TypeAlias = ModelReply | VerbatimResponse
