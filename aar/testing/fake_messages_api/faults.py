"""Faults between a request and its response, by script or by seeded chance."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from aar.testing.fake_messages_api.replies import ModelReply
from aar.testing.fake_messages_api.request import ApiError, MessagesRequest

NO_FAULT = "as it is"
"""In a ``Misreport``: these figures are right."""


@dataclass(frozen=True, slots=True)
class HttpError:
    """The service returns an error, and nothing is billed.

    Args:
        status: 400, 401, 403, 404, 413, 429, 500, 529 ...
        message: empty means the service's text for that status.
        retry_after: seconds for the ``retry-after`` header.
        headers: further headers.
    """

    status: int
    message: str = ""
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection breaks.

    Before the response (``after`` None), or after so many events of a stream.
    """

    after: int | None = None


@dataclass(frozen=True, slots=True)
class StreamError:
    """An ``error`` event comes after so many events of a stream.

    A response in one piece becomes that error.
    """

    after: int = 1
    kind: str = "overloaded_error"
    message: str = "Overloaded"


@dataclass(frozen=True, slots=True)
class Slow:
    """A pause of so many seconds before each event, or before a whole response."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Stall:
    """A stall after so many events, for so many seconds, and then a broken connection."""

    after: int = 1
    seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class CutShort:
    """The reply ends at so many tokens, as at ``max_tokens``."""

    tokens: int


@dataclass(frozen=True, slots=True)
class OtherReply:
    """Another reply than the model's: a refusal, a paused turn, no content at all."""

    reply: ModelReply


@dataclass(frozen=True, slots=True)
class Misreport:
    """A complete response with usage or a model name that differs from the bill.

    Args:
        start, end: ``usage`` of a stream's first and last figures, or of a whole answer (``end``), whatever they are;
            ``NO_FAULT`` leaves them right.
        model: the model named in the response; empty is its own.
    """

    start: Any = NO_FAULT
    end: Any = NO_FAULT
    model: str = ""


Fault: TypeAlias = HttpError | Drop | StreamError | Slow | Stall | CutShort | OtherReply | Misreport
FaultSource: TypeAlias = Callable[[MessagesRequest], Fault | None]
"""Function that returns the fault of a request, if any; ``request.number`` counts from 0."""


def faults_at_requests(faults: Mapping[int, Fault]) -> FaultSource:
    """Return faults by the number of the request, from 0."""
    return lambda request: faults.get(request.number)


def faults_in_order(faults: Sequence[Fault | None]) -> FaultSource:
    """Return a fault for each of the first requests. None lets one through."""
    return faults_at_requests({number: fault for number, fault in enumerate(faults) if fault is not None})


def faults_by_chance(seed: int, chances: Sequence[tuple[float, Fault]]) -> FaultSource:
    """Return random faults, the same for the same seed and request number.

    The order of requests does not matter.

    Args:
        seed: of all draws.
        chances: probability and fault; the probabilities add up to 1 at most.
    """

    def draw(request: MessagesRequest) -> Fault | None:
        left = random.Random(f"{seed}:{request.number}").random()  # noqa: S311 - must repeat, protects nothing
        for probability, fault in chances:
            left -= probability
            if left < 0:
                return fault
        return None

    return draw


def error_of_fault(fault: HttpError) -> ApiError:
    """Return the error of an ``HttpError``.

    A rate limit has the service's headers.
    """
    headers: dict[str, str] = {}
    if fault.retry_after is not None:
        headers["retry-after"] = f"{fault.retry_after:g}"
    if fault.status == 429:
        reset = datetime.now(UTC) + timedelta(seconds=math.ceil(fault.retry_after or 1))
        for what in ("requests", "tokens", "input-tokens", "output-tokens"):
            headers[f"anthropic-ratelimit-{what}-limit"] = "50"
            headers[f"anthropic-ratelimit-{what}-remaining"] = "0"
            headers[f"anthropic-ratelimit-{what}-reset"] = reset.isoformat(timespec="seconds").replace("+00:00", "Z")
    return ApiError(fault.status, fault.message, {**headers, **fault.headers})
