"""What a failed model call means: whether it may be billed, whether to try again, what to tell the person."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aar.errors import GatewayError, KeyRefused, ModelUnavailable
from aar.llm.pricing.usage import ReportedUsage
from aar.llm.retry_policy import is_retryable, retry_after_seconds

_OVERLOADED = frozenset({429, 529})
_SHOWN_CHARACTERS = 300
_TOO_LONG = ("prompt is too long", "exceed context limit", "input is too long")
_NAMES_A_MESSAGE = re.compile(r"\bmessages\b|\btool_(?:use|result)\b")
"""As "messages.3.content.0: …", "messages: text content blocks must be non-empty", "`tool_use` ids must be unique"."""
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


class StreamInterrupted(ModelUnavailable):
    """A call ended after the request was sent and before the reply was whole: it may be billed.

    Args:
        reported: usage as far as the stream told; None when nothing came back.
        model: that answers, as far as the stream told.
    """

    def __init__(self, message: str, reported: ReportedUsage | None = None, model: str | None = None) -> None:
        super().__init__(message)
        self.reported = reported or ReportedUsage()
        self.model = model

    @property
    def usage(self) -> Mapping[str, Any]:
        """What is known of the usage, in the service's words."""
        return self.reported.figures


class ServiceUnreachable(ModelUnavailable):
    """Nobody answers at the address, or something that does not speak the Messages API."""


class ServicePausing(ModelUnavailable):
    """The service asks for a pause that is longer than the campaign can wait."""


class PromptTooLong(GatewayError):
    """The conversation does not fit the model's context window or the service's request size."""


class ConversationRejected(PromptTooLong):
    """The service will not take something back that stands in the conversation: a fresh one is the way out."""


class ModelNotFound(GatewayError):
    """The service does not know the model, or the key may not use it."""


class RejectedAttempt(Exception):
    """The service refused an attempt before it streamed anything, so that nothing is billed.

    Args:
        error: what to raise once nobody tries again.
        retried: whether another attempt may succeed.
        retry_after: seconds that the service asked to wait.
        crowded: whether the service says that too much is asked of it at a time.
    """

    def __init__(
        self, error: GatewayError, *, retried: bool, retry_after: float | None = None, crowded: bool = False
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.retried = retried
        self.retry_after = retry_after
        self.crowded = crowded


def error_for_status(status: int, text: str, headers: Mapping[str, str]) -> RejectedAttempt:
    """What an answer with an error status means.

    Args:
        text: the service's own words, without the key.
    """
    said = f"the service answered {status}: {text}"
    if status < 400:
        return unexpected_response("a redirect", text, headers, status=status)
    if is_retryable(status):
        wait = retry_after_seconds(headers)
        return RejectedAttempt(ModelUnavailable(said), retried=True, retry_after=wait, crowded=status in _OVERLOADED)
    if status in (401, 403):
        return RejectedAttempt(KeyRefused(said, "Check the key and its permissions"), retried=False)
    if status == 413 or (status == 400 and any(words in text.lower() for words in _TOO_LONG)):
        return RejectedAttempt(PromptTooLong(said), retried=False)
    if status == 400 and _NAMES_A_MESSAGE.search(text):
        return RejectedAttempt(ConversationRejected(said), retried=False)
    if status == 404:
        return RejectedAttempt(ModelNotFound(said, "Check the model id in the spec"), retried=False)
    return RejectedAttempt(GatewayError(said), retried=False)


def error_in_stream(error: object, text: str, headers: Mapping[str, str]) -> RejectedAttempt:
    """What an error means that came with status 200, before any of a reply.

    Args:
        error: the service's error object, if it is one.
        text: the service's own words, without the key.
    """
    kind = error.get("type") if isinstance(error, Mapping) else None
    return error_for_status(_STATUS_OF.get(str(kind), 500), text, headers)


def unexpected_response(kind: str, text: str, headers: Mapping[str, str], *, status: int = 200) -> RejectedAttempt:
    """Something else than a reply came: a proxy's page, or nothing.

    Args:
        kind: its content type.
        text: its first words, without the key.
    """
    said = f"no reply of the model but {kind or 'nothing'}: {text}" if text else "an empty answer"
    error = ServiceUnreachable(
        f"the service answered {status} with {said}", "Check the base URL and proxies on the way"
    )
    return RejectedAttempt(error, retried=True, retry_after=retry_after_seconds(headers))


def unreachable_error(url: str) -> RejectedAttempt:
    """Nobody answers there."""
    error = ServiceUnreachable(f"cannot reach {url}", "Check the network and the base URL")
    return RejectedAttempt(error, retried=True)


def cause_of(error: BaseException) -> str:
    """One bounded line about what lies under an error."""
    cause = error.__cause__ or error
    return shorten_line(str(cause) or type(cause).__name__)


def shorten_line(text: str) -> str:
    """One line of bounded length."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN_CHARACTERS else flat[:_SHOWN_CHARACTERS] + "…"
