"""Model calls: the only place that knows the API key.

One ``Gateway`` serves all researchers of a campaign over one ``anthropic.AsyncAnthropic``. The SDK's own retries are
off: an attempt that the service refused before it streamed anything is not billed and is tried again here, until the
policy's deadline; an attempt that broke off once the request was on its way may be billed, so it is reported as
``StreamBroken`` with the usage seen, and the caller reserves anew before it tries again.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from pydantic import SecretStr

from aar.errors import GatewayError, KeyRefused, ModelUnavailable
from aar.researcher.assembly import Assembly
from aar.researcher.encoding import MessageEncoder, body
from aar.researcher.retries import RetryPolicy, is_retried, retry_after_seconds

if TYPE_CHECKING:
    from anthropic import APIStatusError, AsyncAnthropic
    from anthropic.types import Message

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NO_KEY = "none"


class StreamBroken(ModelUnavailable):
    """A call ended after the request was sent and before the reply was whole: it may be billed.

    Args:
        usage: usage as far as the stream told, in the service's own words; empty when nothing came back.
    """

    def __init__(self, message: str, usage: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.usage = dict(usage)


class PromptTooLong(GatewayError):
    """The conversation does not fit the model's context window or the service's request size."""


@dataclass(frozen=True, slots=True)
class CallRequest:
    """One model call.

    The body is made of bytes here: the SDK would copy the whole conversation and encode it anew at every turn.

    Args:
        model: model id.
        system: the system prompt's blocks.
        tools: tool definitions.
        messages: the conversation.
        max_tokens: bound of the reply.
        extra: further parameters of the Messages API, such as ``thinking``.
        encoder: the conversation's, so that it is not encoded anew.
    """

    model: str
    system: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    messages: Sequence[Mapping[str, Any]]
    max_tokens: int
    extra: Mapping[str, Any] = field(default_factory=dict)
    encoder: MessageEncoder = field(default_factory=MessageEncoder)

    def body(self) -> bytes:
        """The request's body."""
        fields = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "stream": True,
            "system": self.system,
            "tools": self.tools,
            **self.extra,
        }
        return body(fields, self.encoder.encode(self.messages))


class _Refused(Exception):
    """The service refused an attempt before it streamed anything."""

    def __init__(self, error: GatewayError, *, retried: bool, retry_after: float | None) -> None:
        super().__init__(error.message)
        self.error = error
        self.retried = retried
        self.retry_after = retry_after


class Gateway:
    """Calls models of one service with one key.

    Args:
        base_url: a server that speaks the Messages API; None is Anthropic's own.
        api_key: sent with each request and written nowhere; None for a server that wants none.
        timeout: longest silence on an open stream, in seconds.
        policy: when to try again.
    """

    def __init__(
        self,
        base_url: str | None,
        api_key: SecretStr | None,
        timeout: float = 300.0,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._base_url = base_url
        self._api_key = api_key
        self._timeout = timeout
        self._policy = policy or RetryPolicy()
        self._client: AsyncAnthropic | None = None

    async def warm_up(self) -> None:
        """Import the SDK in a thread: it takes most of a second, and the first call would hold up the loop for it."""
        await anyio.to_thread.run_sync(importlib.import_module, "anthropic")

    async def complete(
        self, request: CallRequest, *, pause: Callable[[float], Awaitable[None]] = anyio.sleep
    ) -> Message:
        """Make one call, however many unbilled attempts it takes.

        Args:
            request: the call.
            pause: how to wait between attempts; an exception from it ends the call, which was then not billed.

        Raises:
            KeyRefused: the key is wrong or may not use this model.
            PromptTooLong: the conversation is too long for the model.
            StreamBroken: the call may be billed, yet there is no reply.
            ModelUnavailable: the deadline passed; nothing was billed.
            GatewayError: the service refused the request itself.
        """
        started = time.monotonic()
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(request)
            except _Refused as refusal:
                wait = self._policy.delay(attempt, refusal.retry_after, time.monotonic() - started)
                if not refusal.retried or wait is None:
                    raise refusal.error from refusal.__cause__
            await pause(wait)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _attempt(self, request: CallRequest) -> Message:
        import anthropic
        import httpx2

        assembly = Assembly()
        try:
            async with await self._opened().post(
                "/v1/messages",
                cast_to=object,
                content=request.body(),
                options={"headers": {"Content-Type": "application/json"}},
                stream=True,
                stream_cls=anthropic.AsyncStream[object],
            ) as stream:
                await _receive(stream.response, assembly)
        except anthropic.APIStatusError as error:
            raise _refusal(error.status_code, self._scrubbed(error), error.response.headers) from error
        except anthropic.APIConnectionError as error:
            if isinstance(error.__cause__, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)):
                unreachable = ModelUnavailable(f"cannot reach {self._shown_url}", "Check the network and the base URL")
                raise _Refused(unreachable, retried=True, retry_after=None) from error
            raise StreamBroken(f"connection to {self._shown_url} lost: {_cause(error)}", {}) from error
        except (httpx2.HTTPError, ValueError, KeyError) as error:
            raise StreamBroken(f"stream from {self._shown_url} broke: {_cause(error)}", assembly.usage) from error
        if not assembly.complete or assembly.message is None:
            raise StreamBroken(f"stream from {self._shown_url} ended early", assembly.usage)
        return anthropic.types.Message.construct(**assembly.message)

    def _opened(self) -> AsyncAnthropic:
        if self._client is None:
            import anthropic

            # Proxies of the environment are for the outside; a loopback server is reached directly.
            direct = urlsplit(self._base_url or "").hostname in _LOOPBACK
            timeout = anthropic.Timeout(self._timeout, connect=10.0)
            self._client = anthropic.AsyncAnthropic(
                api_key=self._api_key.get_secret_value() if self._api_key else _NO_KEY,
                base_url=self._base_url,
                max_retries=0,
                timeout=timeout,
                http_client=anthropic.DefaultAsyncHttpxClient(trust_env=not direct, timeout=timeout),
            )
        return self._client

    def _scrubbed(self, error: APIStatusError) -> str:
        text = error.api_message or error.message
        return _bounded(text.replace(self._api_key.get_secret_value(), "[key]") if self._api_key else text)

    @property
    def _shown_url(self) -> str:
        return self._base_url or "api.anthropic.com"


async def _receive(response: Any, assembly: Assembly) -> None:
    from anthropic import AsyncStream

    async for sse in AsyncStream.raw_events(response):
        if sse.event == "error":
            # An overload in mid-stream comes as an event of a response with status 200.
            raise StreamBroken(f"the service failed in mid-stream: {_bounded(sse.data)}", assembly.usage)
        if sse.event is not None and sse.event != "ping" and sse.data:
            assembly.feed(json.loads(sse.data))


def _refusal(status: int, text: str, headers: Mapping[str, str]) -> _Refused:
    if is_retried(status):
        retry_after = retry_after_seconds(headers)
        return _Refused(
            ModelUnavailable(f"the service answered {status}: {text}"), retried=True, retry_after=retry_after
        )
    if status in (401, 403):
        refused = KeyRefused(f"the service answered {status}: {text}", "Check ANTHROPIC_API_KEY and its permissions")
        return _Refused(refused, retried=False, retry_after=None)
    if status == 413 or (status == 400 and "prompt is too long" in text):
        return _Refused(PromptTooLong(f"the service answered {status}: {text}"), retried=False, retry_after=None)
    remedy = "Check the model id in the spec" if status == 404 else ""
    return _Refused(GatewayError(f"the service answered {status}: {text}", remedy), retried=False, retry_after=None)


def _cause(error: BaseException) -> str:
    cause = error.__cause__ or error
    return _bounded(str(cause) or type(cause).__name__)


def _bounded(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 300 else flat[:300] + "…"
