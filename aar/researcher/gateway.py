"""Model calls: one ``Gateway`` serves all researchers of a campaign that use one service and key.

The SDK's own retries are off: an attempt that the service refused before it streamed anything is not billed and is
tried again here, until the policy's deadline; an attempt that broke off once the request was on its way may be
billed, so it is reported as ``StreamBroken`` with the usage seen, and the caller reserves anew before it tries again.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from pydantic import SecretStr
from pydantic_core import from_json

from aar.errors import ModelUnavailable
from aar.researcher.abilities import Abilities, abilities_of, abilities_told
from aar.researcher.assembly import Assembly, Reply
from aar.researcher.call import FLIGHT, CallRequest, Flight
from aar.researcher.pacing import Pacer
from aar.researcher.providers import Service, open_client
from aar.researcher.refusals import (
    ModelMissing,
    PromptTooLong,
    Refused,
    StreamBroken,
    bounded,
    cause_of,
    no_stream,
    refusal,
    refusal_in_stream,
    unreachable,
)
from aar.researcher.retries import RetryPolicy
from aar.researcher.streaming import events_of

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

__all__ = ["CallRequest", "Flight", "Gateway", "ModelMissing", "PromptTooLong", "StreamBroken"]

_SHOWN_BYTES = 2000
_LONGEST_MESSAGE_BYTES = 32 * 1024**2

Interruptible = Callable[[Awaitable[Any]], Awaitable[Any]]
"""Awaits something that the caller may break off; what it raises then ends the call, which was not billed."""
Progress = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Told of each content block when it begins."""


async def _patiently(work: Awaitable[Any]) -> Any:
    return await work


class Gateway:
    """Calls models of one service with one key.

    Args:
        base_url: a server that speaks the Messages API; None is Anthropic's own. Or a whole ``Service``.
        api_key: sent with each request and written nowhere; None for a server that wants none.
        timeout: longest silence on an open stream, in seconds; a stream that only pings counts as silent.
        policy: when to try again.
        pacer: bounds the calls under way.
    """

    def __init__(
        self,
        base_url: str | Service | None,
        api_key: SecretStr | None = None,
        timeout: float = 300.0,
        policy: RetryPolicy | None = None,
        pacer: Pacer | None = None,
    ) -> None:
        self.service = base_url if isinstance(base_url, Service) else Service(base_url=base_url, api_key=api_key)
        self.pacer = pacer or Pacer()
        self._timeout = timeout
        self._policy = policy or RetryPolicy()
        self._client: AsyncAnthropic | None = None
        self._opening = anyio.Lock()
        self._abilities: dict[str, Abilities] = {}

    async def warm_up(self) -> None:
        """Import the SDK in a thread: it takes most of a second, and the first call would hold up the loop for it."""
        await anyio.to_thread.run_sync(importlib.import_module, "anthropic")

    async def complete(
        self,
        request: CallRequest,
        *,
        interruptible: Interruptible = _patiently,
        progress: Progress | None = None,
        flight: Flight | None = None,
    ) -> Reply:
        """Make one call, however many unbilled attempts it takes.

        Args:
            request: the call.
            interruptible: how to wait for leave and between attempts.
            progress: told of the reply's blocks as they begin.
            flight: kept up to date: whether it may be billed if it is cut off now.

        Raises:
            KeyRefused: the key is wrong or may not use this model.
            PromptTooLong: the conversation is too long for the model.
            ModelMissing: the service does not know the model.
            StreamBroken: the call may be billed, yet there is no reply.
            ModelUnavailable: the deadline passed; nothing was billed.
            GatewayError: the service refused the request itself.
        """
        started = time.monotonic()
        flight = flight or Flight()
        attempt = 0
        while True:
            attempt += 1
            entered = self.pacer.enter_at_once()
            if entered is None:
                entered = await interruptible(self.pacer.enter())
            try:
                message = await self._attempt(request, progress, flight)
            except Refused as refused:
                flight.sent = False
                self._note(refused, entered)
                wait = self._policy.delay(attempt, refused.retry_after, time.monotonic() - started)
                if not refused.retried or wait is None:
                    raise refused.error from refused.__cause__
            except StreamBroken:
                self.pacer.failed()
                raise
            else:
                self.pacer.succeeded()
                return message
            finally:
                self.pacer.leave()
            await interruptible(anyio.sleep(wait))

    async def abilities(self, model: str) -> Abilities:
        """What the service says that a model can do, asked once; what its name says where the service tells nothing.

        Raises:
            KeyRefused: the key is wrong.
        """
        if model not in self._abilities:
            told = (
                abilities_of(model)
                if not self.service.takes_bytes
                else await abilities_told(await self._opened(), model)
            )
            self._abilities[model] = told
        return self._abilities[model]

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _note(self, refused: Refused, entered: float) -> None:
        if refused.crowded:
            self.pacer.crowded(refused.retry_after, entered)
        elif refused.retried:
            self.pacer.failed()
        else:
            self.pacer.succeeded()  # it answered, if only to say no

    async def _attempt(self, request: CallRequest, progress: Progress | None, flight: Flight) -> Reply:
        import anthropic
        import httpx2

        assembly = Assembly(may_summarise=request.may_summarise)
        url, client = self.service.shown, await self._opened()
        given: dict[str, Any] = {"content": request.body()} if self.service.takes_bytes else {"body": request.fields()}

        def broken(said: str) -> StreamBroken:
            return StreamBroken(self._bounded(said), assembly.broken_usage, assembly.model)

        FLIGHT.set(flight)
        try:
            async with await self._posted(client, request, given) as stream:
                await self._receive(stream, assembly, progress, broken)
        except anthropic.APIStatusError as error:
            if error.status_code != 200:
                raise refusal(error.status_code, self._said(error), error.response.headers) from error
            if assembly.message is None:
                raise refusal_in_stream(_error_of(error.body), self._said(error)) from error
            if not assembly.complete:
                raise broken(f"the service failed in mid-stream: {self._said(error)}") from error
        except anthropic.APIConnectionError as error:
            if isinstance(error.__cause__, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)):
                raise unreachable(url) from error
            if not assembly.complete:
                raise broken(f"connection to {url} lost: {cause_of(error)}") from error
        except (httpx2.HTTPError, ValueError) as error:
            if not assembly.complete:  # what comes after a reply's end cannot undo it
                raise broken(f"stream from {url} broke: {cause_of(error)}") from error
        if not assembly.complete:
            raise broken(f"stream from {url} ended early")
        try:
            return assembly.reply()
        except ValueError as error:
            raise broken(f"stream from {url} broke: {error}") from error

    async def _posted(self, client: AsyncAnthropic, request: CallRequest, given: Mapping[str, Any]) -> Any:
        """The stream that answers a request. What the SDK raises of its own kinds, and what the transport does, may
        come after the request was sent; anything else comes of making it ready, such as credentials that are absent."""
        import anthropic
        import httpx2

        try:
            return await client.post(
                "/v1/messages",
                cast_to=object,
                options={"headers": request.headers()},
                stream=True,
                stream_cls=anthropic.AsyncStream[object],
                **given,
            )
        except (anthropic.APIError, httpx2.HTTPError):
            raise
        except Exception as error:
            said = self._bounded(f"the call could not be made ready: {type(error).__name__}: {error}")
            known = ModelUnavailable(said, "Check the provider's credentials")
            raise Refused(known, retried=bool(getattr(error, "retryable", False))) from error

    async def _receive(
        self, stream: Any, assembly: Assembly, progress: Progress | None, broken: Callable[[str], StreamBroken]
    ) -> None:
        heard, often = time.monotonic(), min(1.0, self._timeout / 10)
        with anyio.move_on_after(self._timeout) as watch:
            if self.service.takes_bytes and not _is_stream(stream.response.headers):
                await self._receive_whole(stream.response, assembly)
                return
            async for batch in _batches(stream, self.service):
                # Now and then is enough: to move a deadline costs as much as to read an event.
                if time.monotonic() - heard > often and any(event.get("type") != "ping" for event in batch):
                    heard = time.monotonic()
                    watch.deadline = anyio.current_time() + self._timeout
                for event in batch:
                    kind = event.get("type")
                    if assembly.complete:
                        return
                    if kind == "error":
                        # An overload comes as an event of a response with status 200.
                        said = self._bounded(json.dumps(event.get("error")))
                        if assembly.message is None:
                            raise refusal_in_stream(event.get("error"), said)
                        raise broken(f"the service failed in mid-stream: {said}")
                    if kind != "ping":
                        assembly.feed(event)
                    if progress is not None and kind == "content_block_start":
                        await progress(event["content_block"])
            if assembly.message is None:
                raise no_stream("", "")
        if watch.cancelled_caught and not assembly.complete:
            raise broken(f"no progress on the stream in {self._timeout:g} s")

    async def _receive_whole(self, response: Any, assembly: Assembly) -> None:
        """Take an answer that is no stream: a message in one piece, an error, or what a proxy says."""
        kind = response.headers.get("content-type", "").partition(";")[0]
        body = b""
        async for piece in response.aiter_bytes():
            body += piece
            if "json" not in kind and len(body) >= _SHOWN_BYTES:
                break
            if len(body) > _LONGEST_MESSAGE_BYTES:
                raise ValueError(f"a message of over {_LONGEST_MESSAGE_BYTES} bytes")
        shown = self._bounded(body[:_SHOWN_BYTES].decode("utf-8", "replace"))
        if "json" not in kind or not body.strip():
            raise no_stream(kind, shown)
        value = from_json(body)
        if isinstance(value, dict) and ("content" in value or value.get("type") == "message"):
            assembly.take_whole(value)
        elif isinstance(value, dict) and "error" in value:
            raise refusal_in_stream(value["error"], shown)
        else:
            raise no_stream(kind, shown)

    async def _opened(self) -> AsyncAnthropic:
        if self._client is not None:
            return self._client
        async with self._opening:
            if self._client is None:
                self._client = await anyio.to_thread.run_sync(open_client, self.service, self._timeout)
            return self._client

    def _said(self, error: Any) -> str:
        return self._bounded(error.api_message or error.message)

    def _bounded(self, text: str) -> str:
        """One line for people, without the key."""
        return bounded(self.service.without_key(text))


def _error_of(body: object) -> object:
    return body.get("error", body) if isinstance(body, Mapping) else body


def _is_stream(headers: Mapping[str, str]) -> bool:
    kind = headers.get("content-type", "").lower()
    return not kind or kind.startswith("text/event-stream")


async def _batches(stream: Any, service: Service) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    if service.takes_bytes:
        # The stream's own iterator builds an object for each event; only their data is needed.
        async for batch in events_of(stream.response.aiter_bytes()):
            yield batch
    else:
        async for event in stream:
            yield (event,)
