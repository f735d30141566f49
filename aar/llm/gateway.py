"""The gateway for model calls to one service with one key.

It serves all researchers of a campaign that use them.

The SDK's own retries are off. An attempt that the service refused before it streamed anything is not billed and is
tried again here, until the policy's deadline. An attempt that broke off after the request was sent may be billed, so it
is raised as ``StreamInterrupted`` with the usage seen, and the caller reserves again before its next try.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from pydantic import SecretStr

from aar.errors import ModelUnavailable
from aar.llm.api_errors import (
    ModelNotFound,
    PromptTooLong,
    RejectedAttempt,
    RetryPolicy,
    StreamInterrupted,
    cause_of,
    error_for_status,
    error_in_stream,
    shorten_line,
    unexpected_response,
    unreachable_error,
)
from aar.llm.capabilities import ModelCapabilities, capabilities_by_name, query_capabilities
from aar.llm.concurrency_limiter import AdaptiveLimiter, OnWait, ServiceOutageMonitor, WaitNotice, ignore_wait
from aar.llm.endpoints import ModelEndpoint, open_client
from aar.llm.request import SEND_STATUS, ModelRequest, SendStatus
from aar.llm.response import CompleteReply, MessageAccumulator, ProgressCallback, ResponseReader

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

__all__ = ["Gateway", "ModelNotFound", "ModelRequest", "PromptTooLong", "SendStatus", "StreamInterrupted"]

InterruptibleCall = Callable[[Awaitable[Any]], Awaitable[Any]]
"""Awaits work that the caller may break off; an error that it raises then ends the call, which was not billed."""


async def _await_uninterrupted(work: Awaitable[Any]) -> Any:
    return await work


class Gateway:
    """Calls the models of one service with one key.

    Args:
        base_url: a server that speaks the Messages API; None is Anthropic's own. Or a whole ``ModelEndpoint``.
        api_key: sent with each request and stored nowhere; None for a server that needs none.
        timeout: longest silence on an open stream, in seconds; a stream without new content counts as silent.
        policy: of retries.
        limiter: bounds the calls under way.
        outages: receives attempts that fail before anything is billed.
    """

    def __init__(
        self,
        base_url: str | ModelEndpoint | None,
        api_key: SecretStr | None = None,
        timeout: float = 300.0,
        policy: RetryPolicy | None = None,
        limiter: AdaptiveLimiter | None = None,
        outages: ServiceOutageMonitor | None = None,
    ) -> None:
        self.service = (
            base_url if isinstance(base_url, ModelEndpoint) else ModelEndpoint(base_url=base_url, api_key=api_key)
        )
        self.limiter = limiter or AdaptiveLimiter()
        self.outages = outages or ServiceOutageMonitor(self.service.display_url)
        self._timeout = timeout
        self._policy = policy or RetryPolicy()
        self._client: AsyncAnthropic | None = None
        self._opening = anyio.Lock()
        self._capabilities: dict[str, ModelCapabilities] = {}

    async def warm_up(self) -> None:
        """Import the SDK in a thread, so that the loop is not blocked.

        The import takes most of a second.
        """
        await anyio.to_thread.run_sync(importlib.import_module, "anthropic")

    async def complete(
        self,
        request: ModelRequest,
        *,
        interruptible: InterruptibleCall = _await_uninterrupted,
        progress: ProgressCallback | None = None,
        status: SendStatus | None = None,
        waiting: OnWait = ignore_wait,
    ) -> CompleteReply:
        """Make one call, with as many unbilled attempts as it takes.

        Args:
            request: the call.
            interruptible: awaits a slot, and the pauses between attempts.
            progress: receives the reply's blocks as they begin.
            status: updated: whether the call may be billed if it is cut off now.
            waiting: receives waits for the service.

        Raises:
            KeyRefused: the key is wrong or may not use this model.
            PromptTooLong: the conversation is too long for the model.
            ModelNotFound: the service does not know the model.
            StreamInterrupted: the call may be billed, yet there is no reply.
            ServiceUnreachable: no server answers, or a wrong one, until the deadline; nothing was billed.
            ServicePausing: the service requests a longer pause than the campaign can wait; nothing was billed.
            ModelUnavailable: the deadline passed; nothing was billed.
            GatewayError: the service refused the request itself.
        """
        status = status or SendStatus()
        started, paused = time.monotonic(), self.limiter.paused_seconds
        notice = WaitNotice(waiting, lambda: self.limiter.blocked_seconds)
        attempt = 0
        while True:
            await notice.begins(attempt)
            entered = self.limiter.try_acquire()
            if entered is None:
                entered = await interruptible(self._slot(started, paused))
            try:
                await notice.ends(attempt)
                attempt += 1
                message = await self._attempt(request, progress, status)
            except RejectedAttempt as refused:
                status.sent = False
                wait = self._record_rejection(refused, entered, attempt, self._elapsed(started, paused))
                if wait is None:
                    raise refused.error from refused.__cause__
            except StreamInterrupted as broken:
                self.limiter.record_failure()
                if not broken.usage:
                    # No part of a reply came: count it as an outage for all callers. The call may still be billed.
                    self.outages.record_failure(
                        ModelUnavailable(broken.message, broken.remedy), self.limiter.blocked_seconds
                    )
                raise
            else:
                self.limiter.record_success()
                self.outages.record_reply()
                return message
            finally:
                self.limiter.release()
            await notice.begins(attempt, wait)
            await interruptible(anyio.sleep(wait))

    @property
    def patience_seconds(self) -> float:
        """Return how long to wait for a service that does not answer."""
        return self._policy.deadline

    async def capabilities(self, model: str) -> ModelCapabilities:
        """Return a model's capabilities from the service, queried once, or else from its name.

        Raises:
            KeyRefused: the key is wrong.
            ServiceUnreachable: no server answers at the address.
        """
        if model not in self._capabilities:
            known = (
                capabilities_by_name(model)
                if not self.service.accepts_raw_body
                else await query_capabilities(await self._opened(), model, self.service.display_url)
            )
            self._capabilities[model] = known
        return self._capabilities[model]

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _elapsed(self, started: float, paused: float) -> float:
        """Return the seconds since a moment, without pauses that the service requested.

        Those are no failures.
        """
        return time.monotonic() - started - (self.limiter.paused_seconds - paused)

    async def _slot(self, started: float, paused: float) -> float:
        """Wait for a slot; while no call succeeds, at most until the policy's deadline.

        During an outage few calls are let through, and the others would wait until each had its own turn to fail. A
        pause that the service requests is always waited for.
        """

        def left() -> float:
            return max(self._policy.deadline - self._elapsed(started, paused), self.limiter.pause_left)

        while (seconds := left()) > 0 or self.outages.error is None:
            with anyio.move_on_after(max(seconds, 1.0)):
                return await self.limiter.acquire()
        error = self.outages.error
        raise type(error)(error.message, error.remedy)

    def _record_rejection(self, refused: RejectedAttempt, entered: float, attempt: int, elapsed: float) -> float | None:
        """Record a refused attempt.

        Return the wait before the next one, None for no more attempts.
        """
        if not refused.retried:
            self.limiter.record_success()  # it answered, even if with a refusal
            return None
        pause_seconds = refused.retry_after or 0.0
        if refused.throttled:
            self.limiter.record_throttling(entered)
        elif not pause_seconds:
            self.limiter.record_failure()
        wait = self._policy.delay(attempt, elapsed, pause_seconds)
        if pause_seconds:
            self.limiter.pause(pause_seconds)
        self.outages.record_failure(refused.error, max(wait or 0.0, self.limiter.blocked_seconds), pause_seconds)
        return wait

    async def _attempt(
        self, request: ModelRequest, progress: ProgressCallback | None, status: SendStatus
    ) -> CompleteReply:
        import anthropic
        import httpx2

        assembly = MessageAccumulator(may_summarise=request.may_compact)
        url, client = self.service.display_url, await self._opened()
        given: dict[str, Any] = (
            {"content": request.body()} if self.service.accepts_raw_body else {"body": request.fields()}
        )

        def broken(message_text: str) -> StreamInterrupted:
            return StreamInterrupted(self._bounded(message_text), assembly.partial_usage, assembly.model)

        SEND_STATUS.set(status)
        try:
            async with await self._posted(client, request, given) as stream:
                receiver = ResponseReader(assembly, self._timeout, self._bounded, progress)
                await receiver.read_response(stream, as_bytes=self.service.accepts_raw_body)
        except anthropic.APIStatusError as error:
            if error.status_code != 200:
                raise self._error_for_status(error) from error
            if assembly.message is None:
                headers = error.response.headers
                raise error_in_stream(_error_of(error.body), self._error_text(error), headers) from error
            if not assembly.complete:
                raise broken(f"the service failed in mid-stream: {self._error_text(error)}") from error
        except anthropic.APIConnectionError as error:
            if isinstance(error.__cause__, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)):
                raise unreachable_error(url) from error
            if not assembly.complete:
                raise broken(f"connection to {url} lost: {cause_of(error)}") from error
        except (httpx2.HTTPError, ValueError) as error:
            if not assembly.complete:  # later content cannot undo a complete reply
                raise broken(f"stream from {url} broke: {cause_of(error)}") from error
        if not assembly.complete:
            raise broken(f"stream from {url} ended early")
        try:
            return assembly.reply()
        except ValueError as error:
            raise broken(f"stream from {url} broke: {error}") from error

    async def _posted(self, client: AsyncAnthropic, request: ModelRequest, given: Mapping[str, Any]) -> Any:
        """Post a request; return the stream that answers it.

        An error of the SDK's own kinds, or of the transport, may come after the request was sent. Any other error comes
        from the preparation, such as absent credentials.
        """
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
            message_text = self._bounded(f"could not prepare the call: {type(error).__name__}: {error}")
            known = ModelUnavailable(message_text, "Check the provider's credentials")
            raise RejectedAttempt(known, retried=bool(getattr(error, "retryable", False))) from error

    async def _opened(self) -> AsyncAnthropic:
        if self._client is not None:
            return self._client
        async with self._opening:
            if self._client is None:
                self._client = await anyio.to_thread.run_sync(open_client, self.service, self._timeout)
            return self._client

    def _error_for_status(self, error: Any) -> RejectedAttempt:
        """Classify an error status.

        A page comes from something in between, with any status: if the service answered before, wait for it; otherwise
        the address is probably wrong.
        """
        headers, message_text = error.response.headers, self._error_text(error)
        rejection = error_for_status(error.status_code, message_text, headers)
        kind = headers.get("content-type", "").partition(";")[0]
        if kind == "text/html" and (self.outages.has_ever_answered or not rejection.retried):
            page = unexpected_response(kind, message_text, headers, status=error.status_code)
            return page if self.outages.has_ever_answered else RejectedAttempt(page.error, retried=False)
        return rejection

    def _error_text(self, error: Any) -> str:
        to = error.response.headers.get("location") if 300 <= error.response.status_code < 400 else None
        return self._bounded(f"to {to}" if to else str(error.api_message or error.message))

    def _bounded(self, text: str) -> str:
        """Return one line for people, without the key."""
        return shorten_line(self.service.redact_key(text))


def _error_of(body: object) -> object:
    return body.get("error", body) if isinstance(body, Mapping) else body
