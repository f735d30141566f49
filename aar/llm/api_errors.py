"""Errors of model calls: which may be billed, which are retried and when, and what people read."""

from __future__ import annotations

import email.utils
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aar.errors import GatewayError, KeyRefused, ModelUnavailable
from aar.llm.usage import ReportedUsage

_OVERLOADED = frozenset({429, 529})
_SHOWN_CHARACTERS = 300
_TOO_LONG = ("prompt is too long", "exceed context limit", "input is too long")
_NAMES_A_MESSAGE = re.compile(r"\bmessages\b|\btool_(?:use|result)\b")
"""Such as "messages.3.content.0: …", "messages: text content blocks must be non-empty", "`tool_use` ids must be
unique"."""
_STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_RETRIED = frozenset({408, 409, 429})


class StreamInterrupted(ModelUnavailable):
    """A call that ended between its request and its complete reply.

    It may be billed.

    Args:
        reported: usage as far as the stream reported it; None without any reply.
        model: that answers, as far as the stream reported it.
    """

    def __init__(self, message: str, reported: ReportedUsage | None = None, model: str | None = None) -> None:
        super().__init__(message)
        self.reported = reported or ReportedUsage()
        self.model = model

    @property
    def usage(self) -> Mapping[str, Any]:
        """Return the known usage, with the service's field names."""
        return self.reported.figures


class ServiceUnreachable(ModelUnavailable):
    """No server answers, or one that does not speak the Messages API."""


class ServicePausing(ModelUnavailable):
    """The service requests a pause that is longer than the campaign can wait."""


class PromptTooLong(GatewayError):
    """The conversation does not fit the model's context window or the service's request size."""


class ConversationRejected(PromptTooLong):
    """The service rejects part of the conversation; a fresh conversation is the remedy."""


class ModelNotFound(GatewayError):
    """The service does not know the model, or the key may not use it."""


class RejectedAttempt(Exception):
    """The service refused an attempt before it streamed anything, so nothing is billed.

    Args:
        error: the error to raise after the last attempt.
        retried: whether another attempt may succeed.
        retry_after: seconds of the pause that the service requested.
        throttled: whether the service reports a rate limit or overload.
    """

    def __init__(
        self, error: GatewayError, *, retried: bool, retry_after: float | None = None, throttled: bool = False
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.retried = retried
        self.retry_after = retry_after
        self.throttled = throttled


def error_for_status(status: int, text: str, headers: Mapping[str, str]) -> RejectedAttempt:
    """Classify a reply with an error status.

    Args:
        text: the message of the service, without the key.
    """
    message = f"the service answered {status}: {text}"
    if status < 400:
        return unexpected_response("a redirect", text, headers, status=status)
    if is_retryable(status):
        wait = retry_after_seconds(headers)
        return RejectedAttempt(
            ModelUnavailable(message), retried=True, retry_after=wait, throttled=status in _OVERLOADED
        )
    if status in (401, 403):
        return RejectedAttempt(KeyRefused(message, "Check the key and its permissions"), retried=False)
    if status == 413 or (status == 400 and any(words in text.lower() for words in _TOO_LONG)):
        return RejectedAttempt(PromptTooLong(message), retried=False)
    if status == 400 and _NAMES_A_MESSAGE.search(text):
        return RejectedAttempt(ConversationRejected(message), retried=False)
    if status == 404:
        return RejectedAttempt(ModelNotFound(message, "Check the model id in the spec"), retried=False)
    return RejectedAttempt(GatewayError(message), retried=False)


def error_in_stream(error: object, text: str, headers: Mapping[str, str]) -> RejectedAttempt:
    """Classify an error that came with status 200, before any of a reply.

    Args:
        error: the service's error object, if it is one.
        text: the message of the service, without the key.
    """
    kind = error.get("type") if isinstance(error, Mapping) else None
    return error_for_status(_STATUS_OF.get(str(kind), 500), text, headers)


def unexpected_response(kind: str, text: str, headers: Mapping[str, str], *, status: int = 200) -> RejectedAttempt:
    """Classify a response that is not a reply: a proxy's page, or nothing.

    Args:
        kind: its content type.
        text: its beginning, without the key.
    """
    message = f"{kind or 'nothing'} instead of a reply of the model: {text}" if text else "an empty response"
    error = ServiceUnreachable(
        f"the service answered {status} with {message}", "Check the base URL and proxies on the way"
    )
    return RejectedAttempt(error, retried=True, retry_after=retry_after_seconds(headers))


def unreachable_error(url: str) -> RejectedAttempt:
    """Return the error for an address at which no server answers."""
    error = ServiceUnreachable(f"cannot reach {url}", "Check the network and the base URL")
    return RejectedAttempt(error, retried=True)


def cause_of(error: BaseException) -> str:
    """Return one bounded line about the cause of an error."""
    cause = error.__cause__ or error
    return shorten_line(str(cause) or type(cause).__name__)


def shorten_line(text: str) -> str:
    """Shorten a text to one line of bounded length."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN_CHARACTERS else flat[:_SHOWN_CHARACTERS] + "…"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The limits of retries.

    Args:
        deadline: seconds from the first attempt after which no further one starts; pauses that the service requested
            do not count.
        first: seconds of the first wait; each further one doubles.
        longest: seconds of the longest wait without a request of the service.
    """

    deadline: float = 900.0
    first: float = 1.0
    longest: float = 60.0

    def delay(self, attempt: int, elapsed: float, requested_pause: float = 0.0) -> float | None:
        """Return the seconds to wait before the next attempt.

        It is None if the deadline leaves no room for one.

        Args:
            attempt: number of attempts made, from 1.
            elapsed: seconds since the first attempt.
            requested_pause: seconds that the service requests; the caller ensures that no attempt starts earlier.
        """
        wait = min(self.longest, self.first * 2.0 ** min(attempt - 1, 30)) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, no secret
        return wait if elapsed + wait <= self.deadline or requested_pause >= wait else None


def is_retryable(status: int) -> bool:
    """Return whether a status deserves another attempt: timeouts, conflicts, rate limits, server errors."""
    return status in _RETRIED or status >= 500


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the pause that the service requested, in seconds.

    It is None if absent, malformed or in the past.

    It comes as ``retry-after-ms``, or as ``retry-after`` in seconds or as an HTTP date.
    """
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        elif "retry-after" in headers:
            value = headers["retry-after"]
            try:
                seconds = float(value)
            except ValueError:
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < float("inf") else None
